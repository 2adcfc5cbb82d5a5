"""A server under its guard, seen from the process that started it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import ServerError

GUARD = Path(__file__).with_name("guard.py")
# What a server may see of our environment: never the passwords that also stand there.
PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "ORT_")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server.

    folder       where it runs; its arguments may be relative to it
    environment  added to the few harmless variables that are passed on
    grace_s      seconds between SIGTERM and SIGKILL
    shm_prefix   names in /dev/shm that are the server's, to be removed after it
    """

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    grace_s: float
    shm_prefix: str = ""


class GuardedProcess:
    """Ends when told, when the server ends, and whatever happens when this process ends."""

    def __init__(self, guard: asyncio.subprocess.Process, pid: int, grace_s: float) -> None:
        self.pid = pid
        self._guard = guard
        self._grace_s = grace_s

    @classmethod
    async def start(cls, launch: Launch, log: Path, lock_fd: int) -> Self:
        """Start the server; the guard holds `lock_fd` open as long as anything of it lives."""
        options = ["--log", str(log), "--grace", str(launch.grace_s), "--held", str(lock_fd)]
        options += [f"--shm-prefix={launch.shm_prefix}"]
        guard = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(GUARD), *options, "--", *launch.argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(lock_fd,),
            cwd=launch.folder,
            env=_environment(launch.environment),
            process_group=0,  # Ctrl-C is for us: the server stays until we have drained
        )
        assert guard.stdout is not None
        said = await guard.stdout.readline()
        if not said:
            raise ServerError(f"the guard of {launch.argv[0]} ended at once")
        return cls(guard, int(said), launch.grace_s)

    async def wait(self) -> int:
        """Wait for the server's end; returns its exit code, 128 + n for signal n."""
        return await self._guard.wait()

    def kill(self) -> None:
        """End a server that answers nothing; the guard sees to what it leaves behind."""
        if self._guard.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            async with asyncio.timeout(self._grace_s + 5.0):
                await self._guard.wait()
        except TimeoutError:
            self._guard.kill()  # the kernel ends the server with it
            await self._guard.wait()


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    return {**kept, **added}

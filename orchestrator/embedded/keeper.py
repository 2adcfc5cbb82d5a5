"""Keeps one server running for a state folder, or attaches to the one that another process keeps."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Never, Protocol

from orchestrator.embedded.claim import Claim, Endpoint
from orchestrator.embedded.guarded import GuardedProcess, Launch
from orchestrator.embedded.logfile import LogFile, log_of
from orchestrator.embedded.loopback import free_ports, is_free
from orchestrator.errors import ServerError

log = logging.getLogger(__name__)

POLL_S = 0.1
PORT_ATTEMPTS = 3


class Kind(Protocol):
    """What the keeper must know of a kind of server."""

    @property
    def name(self) -> str: ...

    @property
    def serving(self) -> str: ...

    @property
    def port_count(self) -> int: ...

    def new_password(self) -> str: ...

    def prepare(self, ports: tuple[int, ...], password: str) -> Launch:
        """Write what the server reads, and say how it is started. Raises ServerError."""
        ...

    async def is_ready(self, endpoint: Endpoint) -> bool:
        """Raises ServerError if it answers, but will never be ready."""
        ...

    async def is_alive(self, endpoint: Endpoint) -> bool:
        """Raises ServerError with the cause if it answers, but cannot do its work any more."""
        ...

    def progress(self, line: str) -> str | None:
        """What a line of the server's log means to somebody who waits. Raises ServerError if it will never be ready."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds; `misses` is how many checks in a row a living server may fail."""

    ready_s: float = 180.0
    check_interval_s: float = 1.0
    misses: int = 3
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 30.0
    healthy_after_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """Nothing before the first attempt; then doubling up to the cap."""
        if failures == 0:
            return 0.0
        return min(self.backoff_cap_s, self.backoff_base_s * 2.0 ** min(failures - 1, 16))


class Keeper:
    def __init__(
        self,
        kind: Kind,
        state_dir: Path,
        *,
        patience: Patience,
        on_progress: Callable[[str], None],
        on_restart: Callable[[str], None],
    ) -> None:
        self._kind = kind
        self._claim = Claim(state_dir, kind.name)
        self._log = LogFile(log_of(state_dir, kind.name))
        self._patience = patience
        self._on_progress = on_progress
        self._on_restart = on_restart
        self._process: GuardedProcess | None = None
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise ServerError(f"{self._kind.name} is used before it was started")
        return self._endpoint

    @property
    def log(self) -> Path:
        return self._log.path

    @property
    def attached(self) -> bool:
        """Whether another process keeps the server."""
        return self._endpoint is not None and self._process is None

    async def open(self) -> None:
        """Start the server, or attach to it, and wait until it is ready. Raises ServerError."""
        deadline = time.monotonic() + self._patience.ready_s
        waiting = False
        while True:
            lock_fd = self._claim.take()
            if lock_fd is not None:
                try:
                    await self._start(lock_fd)
                except OSError as error:
                    raise ServerError(
                        f"{self._kind.name} cannot be started: {error}; free the disk, or choose another "
                        "folder with STATE_DIR"
                    ) from error
                finally:
                    os.close(lock_fd)  # from here on the guard holds the lock
                return
            if await self._attach():
                return
            if not waiting:
                self._on_progress(f"another process holds {self._kind.name}; waiting for it")
                waiting = True
            if time.monotonic() > deadline:
                raise ServerError(
                    f"another process holds the {self._kind.name} of this state folder, but it does not "
                    f"answer: see {self._log.path}, end that process, or choose another folder with STATE_DIR"
                )
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """End the server if it is ours."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def watch(self) -> Never:
        """Start the server anew, on the same ports, whenever it ends or stops answering."""
        failures = 0
        while True:
            since = time.monotonic()
            cause = await self._until_lost()
            if time.monotonic() - since >= self._patience.healthy_after_s:
                failures = 0
            log.warning("%s %s; starting it anew", self._kind.name, cause)
            self._on_restart(cause)
            await self.close()
            failures = await self._reopen(failures)

    async def _reopen(self, failures: int) -> int:
        while True:
            await asyncio.sleep(self._patience.delay_s(failures))
            failures += 1
            try:
                await self.open()
            except ServerError as error:
                log.warning("%s", error)
            else:
                return failures

    async def _until_lost(self) -> str:
        misses = 0
        cause = "does not answer"
        while misses < self._patience.misses:
            code = await self.ended_within(self._patience.check_interval_s)
            if code is not None:
                return f"ended with exit code {code}"
            try:
                misses = 0 if await self._kind.is_alive(self.endpoint) else misses + 1
            except ServerError as error:
                cause = str(error)
                break
        if self._process is not None:
            self._process.kill()
        return cause

    async def ended_within(self, seconds: float) -> int | None:
        """The exit code, 128 + n for signal n, once it is gone and its log is whole; None while it runs."""
        if self._process is None:
            await asyncio.sleep(seconds)
            return None
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def _attach(self) -> bool:
        found = self._claim.read()
        if found is None or not await self._kind.is_ready(found):
            return False
        if found.serving != self._kind.serving:
            raise ServerError(
                f"the {self._kind.name} that runs for this state folder serves {found.serving}, "
                f"not {self._kind.serving}: choose another folder with STATE_DIR"
            )
        if self._endpoint is not None and self._endpoint.ports != found.ports:
            raise ServerError(f"{self._kind.name} has moved to other ports: restart this process")
        self._endpoint = found
        return True

    async def _start(self, lock_fd: int) -> None:
        self._on_progress(f"starting {self._kind.name}")
        for attempt in range(PORT_ATTEMPTS):
            ports, password = self._address(new=attempt > 0)
            launch = self._kind.prepare(ports, password)
            self._log.begin()
            try:
                await self._launch(launch, lock_fd, ports, password)
            except ServerError:
                taken = not all(is_free(port) for port in ports)
                if not taken or self._endpoint is not None or attempt + 1 == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _address(self, *, new: bool) -> tuple[tuple[int, ...], str]:
        """Where it listened last, so that whoever knows the address may keep it; else a new one."""
        last = self._endpoint or self._claim.read()
        if last is not None and not new and len(last.ports) == self._kind.port_count:
            if all(is_free(port) for port in last.ports):
                return last.ports, last.password
            if self._endpoint is not None:
                raise ServerError(f"a port of {self._kind.name} is taken: {last.ports}")
        return free_ports(self._kind.port_count), self._kind.new_password()

    async def _launch(
        self, launch: Launch, lock_fd: int, ports: tuple[int, ...], password: str
    ) -> None:
        async with AsyncExitStack() as undo:
            process = await GuardedProcess.start(launch, self._log.path, lock_fd)
            undo.push_async_callback(process.stop)
            endpoint = Endpoint(process.pid, ports, password, self._kind.serving)
            await self._until_ready(process, endpoint)
            self._claim.write(endpoint)
            undo.pop_all()
        self._process, self._endpoint = process, endpoint

    async def _until_ready(self, process: GuardedProcess, endpoint: Endpoint) -> None:
        deadline = time.monotonic() + self._patience.ready_s
        while True:
            code = await self._ended(process)
            self._tell_progress()
            if code is not None:
                raise ServerError(self._did_not_start(f"exit code {code}"))
            if await self._kind.is_ready(endpoint):
                return
            if time.monotonic() > deadline:
                raise ServerError(self._did_not_start(f"not ready in {self._patience.ready_s:g} s"))

    @staticmethod
    async def _ended(process: GuardedProcess) -> int | None:
        try:
            async with asyncio.timeout(POLL_S):
                return await process.wait()
        except TimeoutError:
            return None

    def _tell_progress(self) -> None:
        for line in self._log.new_lines():
            meaning = self._kind.progress(line)
            if meaning is not None:
                self._on_progress(meaning)

    def _did_not_start(self, how: str) -> str:
        trouble = self._log.trouble() or "it said nothing"
        return f"{self._kind.name} did not start ({how}):\n{trouble}\nAll it said is in {self._log.path}"

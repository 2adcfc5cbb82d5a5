"""The guard: a server and all it started end with whoever started it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.embedded.guarded import GUARD

# Says who it is, ignores SIGTERM when told to, and leaves a grandchild in a session of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(left.pid, flush=True)
time.sleep(600)
"""


class Guarded:
    def __init__(
        self, log: Path, argv: tuple[str, ...], options: tuple[str, ...], lent: int
    ) -> None:
        command = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), *options, "--", *argv]
        self.log = log
        self.guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(lent,),
            start_new_session=True,
        )
        assert self.guard.stdout is not None
        self.server = int(self.guard.stdout.readline())

    def everyone(self, count: int) -> list[psutil.Process]:
        """The processes below the guard, once there are so many."""
        below = psutil.Process(self.guard.pid)
        eventually(lambda: len(below.children(recursive=True)) == count and self.log.exists())
        return below.children(recursive=True)

    def leave(self) -> int:
        """Let go of the guard, as the kernel does for one who dies."""
        assert self.guard.stdin is not None
        self.guard.stdin.close()
        return self.guard.wait(timeout=20)

    def close(self) -> None:
        self.guard.kill()
        self.guard.wait()
        for stream in (self.guard.stdin, self.guard.stdout):
            assert stream is not None
            stream.close()


Start = Callable[..., Guarded]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Guarded] = []

    def begin(*argv: str, options: tuple[str, ...] = (), lent: int = 2) -> Guarded:
        started.append(Guarded(tmp_path / "server.log", argv, options, lent))
        return started[-1]

    yield begin
    for guarded in started:
        guarded.close()


def eventually(holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def test_when_the_starter_is_gone_the_server_is_told_to_stop(start: Start) -> None:
    guarded = start("/bin/sleep", "600")
    processes = guarded.everyone(1)
    assert guarded.leave() == 128 + signal.SIGTERM
    assert gone(processes)


def test_a_server_that_does_not_stop_is_killed_with_everything_it_started(
    start: Start,
) -> None:
    guarded = start(sys.executable, "-c", STUBBORN, "stubborn", options=("--grace", "0.2"))
    eventually(lambda: bool(guarded.log.exists() and guarded.log.read_text()))
    processes = guarded.everyone(2)
    assert guarded.leave() == 128 + signal.SIGKILL
    assert gone(processes)


def test_what_a_killed_server_leaves_behind_is_ended(start: Start) -> None:
    guarded = start(sys.executable, "-c", STUBBORN, "meek")
    eventually(lambda: bool(guarded.log.exists() and guarded.log.read_text()))
    processes = guarded.everyone(2)
    os.kill(guarded.server, signal.SIGKILL)
    assert guarded.guard.wait(timeout=20) == 128 + signal.SIGKILL
    assert gone(processes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_guard_ends_the_server(start: Start, number: int) -> None:
    guarded = start("/bin/sleep", "600")
    processes = guarded.everyone(1)
    guarded.guard.send_signal(number)
    assert guarded.guard.wait(timeout=20) == 128 + signal.SIGTERM
    assert gone(processes)


def test_when_the_guard_itself_is_killed_the_server_ends(start: Start) -> None:
    guarded = start("/bin/sleep", "600")
    processes = guarded.everyone(1)
    guarded.guard.kill()
    eventually(lambda: all(process.status() == "zombie" for process in _listed(processes)))


def test_the_guards_exit_code_is_the_servers(start: Start) -> None:
    assert start("/bin/sh", "-c", "exit 7").guard.wait(timeout=20) == 7


def test_a_program_that_is_not_there_is_said_in_the_log(start: Start) -> None:
    guarded = start("/nowhere/server")
    assert guarded.guard.wait(timeout=20) == 127
    assert guarded.log.read_text() == "/nowhere/server: No such file or directory\n"


def test_the_log_is_for_the_user_only_and_never_longer_than_two_files(start: Start) -> None:
    count = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    guarded = start("/bin/sh", "-c", count, options=("--log-bytes", "10000"))
    guarded.guard.wait(timeout=60)
    files = sorted(guarded.log.parent.iterdir())
    assert [file.name for file in files] == ["server.log", "server.log.1"]
    assert all(file.stat().st_size <= 10000 for file in files)
    assert guarded.log.read_text().endswith("line 2999\n")
    assert guarded.log.stat().st_mode & 0o777 == 0o600


def test_the_servers_shared_memory_is_removed_after_it_and_no_other(start: Start) -> None:
    prefix = f"fess-test-{os.getpid()}-"
    others = Path(f"/dev/shm/other-{prefix}1")
    others.touch()
    try:
        guarded = start(
            "/bin/sh", "-c", f"touch /dev/shm/{prefix}1", options=(f"--shm-prefix={prefix}",)
        )
        guarded.guard.wait(timeout=20)
        assert [name for name in os.listdir("/dev/shm") if prefix in name] == [others.name]
    finally:
        others.unlink()


def test_nobody_but_the_guard_inherits_the_lock(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        held = ("--held", str(lock.fileno()))
        guarded = start("/bin/ls", "-l", "/proc/self/fd", options=held, lent=lock.fileno())
        assert guarded.guard.wait(timeout=20) == 0
    listed = guarded.log.read_text()
    assert "/dev/null" in listed
    assert "lock" not in listed


def _listed(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running()]

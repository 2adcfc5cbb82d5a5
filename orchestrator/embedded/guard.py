"""Stands between us and a server we started, so that the server never outlives us.

Run by path, as `python -I -S guard.py --log FILE ... -- server arguments`, with the standard library
only: it must be up in milliseconds and stay small. The starter holds the other end of stdin, which the
kernel closes however the starter ends. Then, or on SIGTERM, SIGINT or SIGHUP, the server gets
SIGTERM, and after the grace SIGKILL, with everything it started; its shared memory is removed.
"""

import argparse
import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = "/dev/shm"
CHUNK = 8192
POLL_S = 1.0
KILLED_S = 2.0


class Log:
    """A file that is moved aside to `<name>.1` when it is full: never more than two of them."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._open()

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk stops the log, never the server
            if self._size + len(data) > self._limit_bytes:
                os.replace(self._path, f"{self._path}.1")
                os.close(self._fd)
                self._open()
            self._size += os.write(self._fd, data)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size


class Guard:
    """One server, from its start until it and everything it started are gone."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._argv: list[str] = arguments.argv
        self._grace_s: float = arguments.grace
        self._shm_prefix: str = arguments.shm_prefix
        self._log = Log(arguments.log, arguments.log_bytes)
        self._parent = os.getppid()
        self._stop_asked = False
        self._exit_code: int | None = None

    def run(self) -> int:
        """Return the server's exit code; 128 + n when signal n ended it."""
        _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes ours to end
        self._remove_shared_memory()  # of a run whose guard was killed, too
        output, server_output = os.pipe()
        self._server = self._start(server_output)
        os.close(server_output)
        wake_read = self._heed_signals()  # only now: the server is to have none of our handlers
        self._tell(f"{self._server}\n")
        with selectors.PollSelector() as selector:
            for fd in (0, wake_read, output):
                selector.register(fd, selectors.EVENT_READ)
            self._watch(selector, output)
            self._end(selector, output)
        return 0 if self._exit_code is None else self._exit_code

    def _heed_signals(self) -> int:
        """Returns what becomes readable when a signal comes."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        return wake_read

    def _start(self, output: int) -> int:
        guard = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        os.setpgid(0, 0)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should this guard itself be killed
        if os.getppid() != guard:
            os._exit(127)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; servers need not
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execv(self._argv[0], self._argv)
        except OSError as error:
            os.write(2, f"{self._argv[0]}: {error.strerror}\n".encode())
            os._exit(127)

    def _watch(self, selector: selectors.BaseSelector, output: int) -> None:
        self._reap()
        while self._exit_code is None and not self._stop_asked and os.getppid() == self._parent:
            self._turn(selector, output, POLL_S)
            self._reap()

    def _end(self, selector: selectors.BaseSelector, output: int) -> None:
        if self._exit_code is None:
            self._signal(self._server, signal.SIGTERM)
            deadline = time.monotonic() + self._grace_s
            while self._exit_code is None and time.monotonic() < deadline:
                self._turn(selector, output, 0.05)
                self._reap()
        deadline = time.monotonic() + KILLED_S
        with contextlib.suppress(OSError):
            os.killpg(self._server, signal.SIGKILL)
        while self._reap() and time.monotonic() < deadline:
            for pid in _children():
                self._signal(pid, signal.SIGKILL)
            self._turn(selector, output, 0.02)
        while self._turn(selector, output, 0.0):
            pass  # its last words
        self._remove_shared_memory()

    def _turn(self, selector: selectors.BaseSelector, output: int, timeout_s: float) -> bool:
        """Wait for news and take them in; tell whether there were any."""
        events = selector.select(timeout_s)
        for key, _ in events:
            data = os.read(key.fd, CHUNK)
            if key.fd == output:
                self._log.write(data)
            elif key.fd == 0 and not data:
                self._stop_asked = True
            if not data:
                selector.unregister(key.fd)
        return bool(events)

    def _reap(self) -> bool:
        """Collect what has ended; tell whether anything is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._server:
                code = os.waitstatus_to_exitcode(status)
                self._exit_code = code if code >= 0 else 128 - code

    def _remove_shared_memory(self) -> None:
        if not self._shm_prefix:
            return
        for name in os.listdir(SHARED_MEMORY):
            if name.startswith(self._shm_prefix):
                with contextlib.suppress(OSError):
                    os.unlink(f"{SHARED_MEMORY}/{name}")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stop_asked = True

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    @staticmethod
    def _tell(text: str) -> None:
        with contextlib.suppress(OSError):  # the starter may be gone already
            os.write(1, text.encode())


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{int(entry)}/stat", encoding="utf-8", errors="replace") as stat:
                parent = stat.read().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(entry))
    return found


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-bytes", type=int, default=8 * 1024 * 1024)
    parser.add_argument("--grace", type=float, default=5.0)
    parser.add_argument("--shm-prefix", default="")
    parser.add_argument("--held", type=int, default=-1)
    parser.add_argument("argv", nargs="+")
    return parser.parse_args(arguments)


def main() -> NoReturn:
    arguments = _parse(sys.argv[1:])
    if arguments.held >= 0:
        # The lock of the server's folder: held by being open here, and to be held by nobody else.
        os.set_inheritable(arguments.held, False)
    sys.exit(Guard(arguments).run())


if __name__ == "__main__":
    main()

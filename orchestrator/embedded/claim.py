"""Who keeps a server for a state folder, and where that server listens.

`NAME.lock` is locked by the server's guard as long as the server lives, whoever started it.
`NAME.json` says where it listens. Both are for this user only: the second may hold a password.
`run.lock` and `run.json` are those of the one process that watches cameras from there.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.errors import ServerError, SettingsError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server on 127.0.0.1.

    ports    in the order in which its kind names them
    serving  what it serves, so that nobody attaches to something else
    """

    pid: int
    ports: tuple[int, ...]
    password: str
    serving: str


class Claim:
    def __init__(self, state_dir: Path, name: str) -> None:
        self._lock = state_dir / f"{name}.lock"
        self._record = state_dir / f"{name}.json"

    def take(self) -> int | None:
        """Lock the server for us: the open file that holds the lock, or None if another has it.

        Raises ServerError if the state folder cannot be written.
        """
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ServerError(
                f"{self._lock} cannot be written: {error.strerror}; choose another folder with STATE_DIR"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def read(self) -> Endpoint | None:
        """Where the server listens, or listened last."""
        try:
            fields = json.loads(self._record.read_bytes())
            return Endpoint(
                pid=int(fields["pid"]),
                ports=tuple(int(port) for port in fields["ports"]),
                password=str(fields["password"]),
                serving=str(fields["serving"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent, or not ours: nothing to go by

    def write(self, endpoint: Endpoint) -> None:
        written = self._record.with_suffix(".new")
        written.unlink(missing_ok=True)
        fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(asdict(endpoint), file)
        os.replace(written, self._record)


@contextmanager
def watching_alone(state_dir: Path) -> Iterator[None]:
    """Hold the state folder as the one process that watches cameras from there; tools may come and go.

    A second one would contend for the outbox, and lose the embedded servers when the first ends.
    Raises SettingsError with the first one's process.
    """
    claim = Claim(state_dir, "run")
    fd = claim.take()
    if fd is None:
        holder = claim.read()
        by = f" by process {holder.pid}" if holder else ""
        raise SettingsError(
            f"{state_dir} is in use{by}, which watches cameras from there: stop it, "
            "or give this one a folder and a port of its own with STATE_DIR and HTTP_PORT"
        )
    try:
        claim.write(Endpoint(pid=os.getpid(), ports=(), password="", serving=""))
        yield
    finally:
        os.close(fd)

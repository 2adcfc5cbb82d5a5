"""Notes in the state folder of who shares memory with Triton, so that a later start clears up after a crash.

A note is named for its owner's token and locked as long as the owner lives, however that ends. Its file outlives
a crash; the lock does not. Containers that share the folder see each other's locks, though not each other's processes.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

PREFIX = "fess-pixels-"
_SUFFIX = ".lock"


class Note:
    """An owner of regions whose names begin with `prefix`; nobody can guess it."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file

    @property
    def prefix(self) -> str:
        return f"{PREFIX}{self._path.name.removesuffix(_SUFFIX)}-"

    @classmethod
    def write(cls, folder: Path) -> "Note":
        """Note that this process owns a token of its own. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(16)}{_SUFFIX}"
        # Locked before it has the name under which others look for it.
        draft = path.with_suffix(".new")
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        draft.rename(path)
        return cls(path, file)

    @classmethod
    def of_the_dead(cls, folder: Path) -> "Iterator[Note]":
        """Notes whose owners are gone, locked for us while they are looked at. Raises OSError."""
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # another process has just cleared it
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue  # its owner lives
            note = cls(path, file)
            try:
                yield note
            finally:
                note.leave()

    def remove(self) -> None:
        """Nothing of its owner is left."""
        self._path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Unlock it; if it was not removed, a later start finds it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

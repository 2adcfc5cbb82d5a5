"""One process at a time in a folder; the others wait their turn."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from orchestrator.errors import ModelError


@contextmanager
def alone(folder: Path, console: Console) -> Iterator[None]:
    """Hold the folder, which is made if it is missing. Raises ModelError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked, so that one that cannot be written to can be used as well.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"{folder}: waiting for another export …", highlight=False)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Programs that are started meanwhile hold it too: killed, we may leave one that still writes here.
        os.set_inheritable(descriptor, True)
        yield
    finally:
        os.close(descriptor)

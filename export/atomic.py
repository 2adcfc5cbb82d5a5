"""A file is there whole or not at all."""

import os
import tempfile
from pathlib import Path

from orchestrator.errors import ModelError


def write(path: Path, content: bytes) -> None:
    """Write beside the final name, sync, and rename. Raises ModelError, then without leaving anything behind."""
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        partial = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        if partial is not None:
            partial.unlink(missing_ok=True)
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error

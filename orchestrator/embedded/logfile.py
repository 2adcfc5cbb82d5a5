"""The log of an embedded server: this run's, and the one before."""

import contextlib
import os
import re
from pathlib import Path

TAIL_BYTES = 65536
TROUBLE = re.compile(r"^[EF]\d{4} |\b(error|fatal|failed|cannot|can't|unable)\b|Traceback", re.I)


def log_of(state_dir: Path, server: str) -> Path:
    return state_dir / "logs" / f"{server}.log"


class LogFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0

    def begin(self) -> None:
        """Move the last run's log aside."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, self.path.with_name(self.path.name + ".1"))
        self._read_to = 0

    def new_lines(self) -> list[str]:
        """What was written since the last call, whole lines only."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._read_to)
            whole, newline, _ = file.read(TAIL_BYTES).rpartition(b"\n")
            self._read_to += len(whole) + len(newline)
            return whole.decode(errors="replace").splitlines()
        return []

    def trouble(self, most: int = 5) -> str:
        """The last lines that tell of trouble, or else the last lines."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip(" +-|")]
            told = [line for line in lines if TROUBLE.search(line)] or lines
            return "\n".join(told[-most:])
        return ""

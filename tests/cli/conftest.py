"""`fess` as an operator types it, in this process and in an empty folder."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.main import main


@dataclass(frozen=True)
class Said:
    """How a command ended. `out` and `err` are what it wrote."""

    code: int
    out: str
    err: str

    @property
    def is_one_plain_error(self) -> bool:
        """Told without a traceback, in one line however wide the terminal is."""
        return (
            self.code == 1
            and self.err.startswith("error: ")
            and "Traceback" not in self.err
            and len(self.err.strip().splitlines()) == 1
        )


Fess = Callable[..., Said]


@pytest.fixture
def fess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Fess]:
    """Run a command; what it does to logging is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["fess", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else int(code is not None), *written)

    yield run
    root.handlers[:], root.level = before
    logging.captureWarnings(False)

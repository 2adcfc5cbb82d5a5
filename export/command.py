"""Another program that takes minutes: its words go to a log, its progress to the operator."""

import errno
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.errors import ModelError

# `[12/98]` of ninja, also where pip indents it.
COUNTED = re.compile(r"^\s*\[(\d+)/(\d+)\]")
# What pip says once for each package.
STARTED = "Collecting "
TAIL_LINES = 12
GRACE_S = 10.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Command:
    """What is run.

    mendable  exit status which means that the program has told the reason elsewhere
    packages  that pip will speak of, for the progress
    """

    title: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    mendable: int | None = None
    packages: int | None = None


def run(command: Command, console: Console) -> int:
    """Wait for the program and return 0, or its `mendable` status. Raises ModelError with the end of its log."""
    command.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        status = _follow(command, console)
    except OSError as error:
        if error.errno in FULL:
            raise ModelError(f"{command.log}: cannot be written: {error.strerror}") from error
        raise ModelError(f"{command.title}: {command.argv[0]} cannot be run: {error}") from error
    if status not in {0, command.mendable}:
        raise ModelError(
            f"{command.title} failed with exit status {status}; the end of {command.log}:\n{_tail(command.log)}"
        )
    return status


def _follow(command: Command, console: Console) -> int:
    columns = (TextColumn("  {task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        command.log.open("a", encoding="utf-8", buffering=1) as log,
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar,
        subprocess.Popen(
            list(command.argv),
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            close_fds=False,  # only locks are inheritable (export/alone.py)
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        task = bar.add_task(command.title, total=command.packages)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                counted = COUNTED.match(line)
                log.write(line)
                if counted is not None:
                    bar.update(task, completed=int(counted[1]), total=int(counted[2]))
                elif line.startswith(STARTED):
                    bar.advance(task)
            return process.wait()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Leave nothing running when the operator interrupts us."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])

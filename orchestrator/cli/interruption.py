"""What a command says when Ctrl-C ends it: what was done, and what was not. The exit status is 130."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console

SHOWN = 5


@contextmanager
def told_when_interrupted(words: Callable[[], str]) -> Iterator[None]:
    """Around what a command does, inside `asyncio.run` or without it. `words` is asked at that moment."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        _tell(words())
        raise
    except typer.Abort as abort:  # Ctrl-C where a question was asked
        _tell(words())
        raise typer.Exit(130) from abort


def some(names: Sequence[str]) -> str:
    """The first of them and how many more, or that there are none."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _tell(words: str) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"interrupted: {words}", markup=False, highlight=False)

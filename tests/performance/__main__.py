"""Measures the figures of docs/benchmarks.md on this machine: `python -m tests.performance`."""

import asyncio
import importlib
import sys
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, cast

import typer
from rich.console import Console

from orchestrator.errors import ServerError
from tests.performance import document
from tests.performance.bench import Bench, Section
from tests.performance.machine import ROOT, Machine
from tests.performance.outcome import Lacking, Outcome
from tests.performance.usage import Surroundings

PARTS = ("infer", "wire", "e2e")  # of the section `serving`
DOCUMENT = ROOT / "docs" / "benchmarks.md"


class Name(StrEnum):
    CAMERAS = "cameras"
    SERVING = "serving"
    OVERLOAD = "overload"
    TRANSPORT = "transport"
    LOOKUPS = "lookups"
    COMEBACK = "comeback"
    MEMORY = "memory"
    SHUTDOWN = "shutdown"
    GALLERY = "gallery"
    CAPACITY = "capacity"
    GROWTH = "growth"
    SWAP = "swap"


def main(
    sections: Annotated[
        list[Name] | None, typer.Argument(help="What to measure; everything if left out.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Short runs, to see that it works; not written to the document.")
    ] = False,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras of the section `cameras`.")] = 10,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="How long the section `cameras` measures.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Parts of the section `serving`: infer, wire, e2e.")
    ] = "",
    write: Annotated[
        bool | None,
        typer.Option(help="Write docs/benchmarks.md; by default unless --quick; not with --only."),
    ] = None,
) -> None:
    """Measure, print tables, keep them as JSON in .fess/bench, and write them into docs/benchmarks.md.

    Real servers, started for each section on loopback. A figure that misses its bar is printed as a miss and
    does not stop the run; a section whose tools are missing is skipped with the reason. Let nothing else
    run meanwhile: the tables say how much did.
    """
    console = Console(width=max(Console().width, 140))
    folder = ROOT / ".fess" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    parts = tuple(filter(None, only.split(",")))
    if set(parts) - set(PARTS):
        raise typer.BadParameter(f"--only knows {', '.join(PARTS)}")
    if write and parts:
        raise typer.BadParameter(
            "--write replaces the whole section, of which --only measures a part: leave one of them out"
        )
    bench = Bench(quick, folder, console, cameras, seconds, parts)
    whole = not quick and not parts
    command = " ".join(["python -m tests.performance", *sys.argv[1:]])
    failed = False
    for name in sections or list(Name):
        outcome = _measure(name, bench)
        failed = failed or outcome is None
        if outcome is not None and outcome.figures:
            machine = Machine.here()
            results = folder if whole else folder / "quick"
            results.mkdir(exist_ok=True)
            document.save(results, name, outcome, machine, command)
            if write or (write is None and whole):
                document.write(DOCUMENT, name, outcome, machine, command)
    sys.exit(failed)


def _measure(name: Name, bench: Bench) -> Outcome | None:
    """None for a section that could not be measured; the others go on."""
    bench.console.rule(name)
    around = Surroundings()
    section = cast(Section, importlib.import_module(f"tests.performance.{name}"))
    outcome: Outcome | None = None
    try:
        outcome = asyncio.run(section.measure(replace(bench, section=name)))
    except* Lacking as lack:
        bench.console.print(f"skipped: {_words(lack)}", highlight=False, markup=False)
        outcome = Outcome(name, ())
    except* (TimeoutError, ServerError) as failure:
        bench.console.print(f"failed: {_words(failure)}", style="red", markup=False)
    if outcome is not None and outcome.figures:
        outcome = replace(outcome, notes=(*outcome.notes, around.words()))
        document.show(bench.console, outcome)
    return outcome


def _words(group: BaseExceptionGroup[Exception]) -> str:
    found: list[str] = []
    for error in group.exceptions:
        found.append(_words(error) if isinstance(error, BaseExceptionGroup) else str(error))
    return "; ".join(found)


if __name__ == "__main__":
    typer.run(main)

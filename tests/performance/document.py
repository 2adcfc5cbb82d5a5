"""Writes results as JSON, and as tables and charts between the markers of docs/benchmarks.md."""

import json
import re
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.performance.machine import Machine
from tests.performance.outcome import Breakdown, Figure, Outcome, figure_text

IMAGES = "img"
COLUMNS = ("what", "figure", "spread", "bar", "verdict")


def save(folder: Path, section: str, outcome: Outcome, machine: Machine, command: str) -> Path:
    path = folder / f"{section}.json"
    document = {"section": section, "command": command, **asdict(outcome)}
    path.write_text(
        json.dumps({**document, "machine": asdict(machine)}, indent=1), encoding="utf-8"
    )
    return path


def show(console: Console, outcome: Outcome) -> None:
    table = Table(title=outcome.title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column)
    for figure in outcome.figures:
        colour = {True: "green", False: "bold red", None: ""}[figure.held]
        table.add_row(*_cells(figure), style=colour)
    console.print(table)
    for breakdown in outcome.breakdowns:
        part = Table(*breakdown.header, title=breakdown.title, title_justify="left")
        for row in breakdown.rows:
            part.add_row(*row)
        console.print(part)
    for note in outcome.notes:
        console.print(f"- {note}", highlight=False, markup=False)


def write(path: Path, section: str, outcome: Outcome, machine: Machine, command: str) -> None:
    """Replace what stands between the section's markers. Raises ValueError if the document has none."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"{path} has no markers for {section}: {begin} … {end}")
    body = markdown(outcome, machine, command)
    for name, chart in outcome.charts.items():
        picture = path.parent / IMAGES / f"{name}.svg"
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(chart.svg(), encoding="utf-8")
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    path.write_text(
        re.sub(pattern, lambda _: f"{begin}\n{body}\n{end}", text, flags=re.S), encoding="utf-8"
    )


def markdown(outcome: Outcome, machine: Machine, command: str) -> str:
    parts = [
        f"{machine.date}, commit {machine.commit}, `{command}`, on {machine.words()}.",
        _table(COLUMNS, tuple(_cells(figure) for figure in outcome.figures)),
        *(f"![{chart.title}]({IMAGES}/{name}.svg)" for name, chart in outcome.charts.items()),
        *(_breakdown(each) for each in outcome.breakdowns),
        "\n".join(f"- {note}" for note in outcome.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _breakdown(breakdown: Breakdown) -> str:
    return f"{breakdown.title}:\n\n{_table(breakdown.header, breakdown.rows)}"


def _table(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) if rows else ""


def _cells(figure: Figure) -> tuple[str, ...]:
    value = f"{figure_text(figure.value)} {figure.unit}".strip()
    return (figure.what, value, figure.spread, figure.bar, figure.verdict)

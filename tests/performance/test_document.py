"""The harness writes each section between its own markers, and says plainly what misses its bar."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tuning.chart import Forest, Ratio
from tests.performance.__main__ import DOCUMENT, Name
from tests.performance.document import markdown, save, write
from tests.performance.machine import Machine
from tests.performance.outcome import Breakdown, Figure, Outcome, at_least, below

MACHINE = Machine("a processor", 2, 4.0, "Linux", "3.11", "av 1", "abc123", "2026-03-14")
OUTCOME = Outcome(
    "Speed",
    (below("late", 250.0, "ms", 200.0, "3 times"), at_least("rate", 5.0, "fps", 4.95)),
    ("A note.",),
    (Breakdown("Parts", ("who", "cores"), (("one", "0.5"),)),),
)


def test_a_figure_is_held_against_its_bar() -> None:
    assert [figure.held for figure in OUTCOME.figures] == [False, True]
    assert Figure("no bar", 1.0, "s").verdict == ""


def test_a_miss_is_printed_as_a_miss() -> None:
    text = markdown(OUTCOME, MACHINE, "python -m tests.performance")
    assert "| late | 250 ms | 3 times | below 200 ms | **MISSES** |" in text
    assert "| rate | 5.00 fps |  | at least 4.95 fps | holds |" in text
    assert "commit abc123" in text


def test_only_the_measured_section_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text(
        "# Head\n<!-- one: begin -->\nstale words\n<!-- one: end -->\n<!-- two: begin -->\nkept\n<!-- two: end -->\n"
    )
    for _ in range(2):
        write(path, "one", OUTCOME, MACHINE, "command")
    text = path.read_text()
    assert "stale words" not in text
    assert text.count("MISSES") == 1
    assert text.startswith("# Head\n")
    assert "<!-- two: begin -->\nkept\n<!-- two: end -->" in text


def test_charts_are_drawn_beside_the_document_and_kept_as_figures(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("<!-- one: begin -->\n<!-- one: end -->\n")
    drawn = replace(OUTCOME, charts={"one-ratio": Forest("Ratios", (Ratio("a", 0.9, 0.8, 1.0),))})
    write(path, "one", drawn, MACHINE, "command")
    assert "![Ratios](img/one-ratio.svg)" in path.read_text()
    assert (tmp_path / "img" / "one-ratio.svg").read_text().startswith("<svg")
    kept = json.loads(save(tmp_path, "one", drawn, MACHINE, "command").read_text())
    assert kept["charts"]["one-ratio"]["ratios"][0]["low"] == 0.8


def test_a_document_without_the_markers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("# Head\n")
    with pytest.raises(ValueError, match="no markers for one"):
        write(path, "one", OUTCOME, MACHINE, "command")


@pytest.mark.parametrize("section", list(Name))
def test_the_document_has_a_place_for_every_section(section: Name) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"<!-- {section}: begin -->" in text
    assert f"<!-- {section}: end -->" in text

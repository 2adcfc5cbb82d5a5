"""What a sweep found is kept, drawn, and written into config.pbtxt only as a whole and with the old one beside it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from orchestrator.errors import ModelError, SettingsError
from orchestrator.tuning.candidate import Candidate
from orchestrator.tuning.chart import Forest, Point, Ratio, Scatter, Series
from orchestrator.tuning.outcome import Outcome, difference, pareto, write
from orchestrator.tuning.stand import Slot
from orchestrator.tuning.trial import Effort, LoadPoint, Standing, Trial
from tests.servers.triton import write_tiny

NOW = Candidate(1, 8, 20000, 1)
BETTER = Candidate(2, 8, 0, 1)
LIMIT_MS = 50.0


def standing(candidate: Candidate, *rates: float) -> Standing:
    def trial(per_s: float) -> Trial:
        points = LoadPoint(1, per_s / 2, 5, 10), LoadPoint(8, per_s, 20, 40)
        return Trial(candidate, Effort.LONG, points)

    return Standing(candidate, tuple(trial(rate) for rate in rates))


def outcome() -> Outcome:
    best, now = standing(BETTER, 200, 210), standing(NOW, 100, 110)
    failed = Standing(Candidate(9, 9, 9, 9), (Trial(BETTER, Effort.SHORT, failure="no memory"),))
    return Outcome(LIMIT_MS, (best, now, failed), best, now)


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    write_tiny(tmp_path)
    return Slot.find(tmp_path, "tiny")


def words(svg: str) -> str:
    return " ".join(text.text or "" for text in ET.fromstring(svg).iter() if text.text)


def test_the_front_is_what_nothing_beats_in_throughput_and_latency_at_once() -> None:
    fast, late = LoadPoint(1, 50, 1, 5), LoadPoint(8, 90, 1, 40)
    beaten, same = LoadPoint(2, 49, 1, 6), LoadPoint(4, 90, 1, 41)
    assert pareto([late, beaten, same, fast]) == [fast, late]


def test_results_are_kept_for_people_and_for_programs(tmp_path: Path) -> None:
    outcome().save(tmp_path, "tiny")
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["improved"] is True
    assert document["best"] == {"instances": 2, "max_batch": 8, "queue_delay_us": 0, "threads": 1}
    assert [each["per_s"] for each in document["standings"]] == [205, 105, 0]
    table = (tmp_path / "results.md").read_text()
    assert "| best | 2 | 8 | 0 | 1 | 205 | 200 to 210 | 40.0 | 19.5 | 2 |" in table
    assert "does not run" in table
    said = words((tmp_path / "latency.svg").read_text())
    assert "Pareto front" in said
    assert "limit 50 ms" in said


def test_the_table_shows_the_repetitions_that_the_verdict_is_taken_from() -> None:
    best, now = standing(BETTER, 200, 210), standing(NOW, 100, 110)
    climbed = standing(BETTER, 90, 200, 210)  # its first trial is from before the final
    rows = Outcome(LIMIT_MS, (climbed, now), best, now).rows()
    assert rows[0] == ("best", "2", "8", "0", "1", "205", "200 to 210", "40.0", "19.5", "2")


def test_an_interrupted_sweep_is_kept_too(tmp_path: Path) -> None:
    partial = Outcome(LIMIT_MS, outcome().standings)
    partial.save(tmp_path, "tiny")
    assert json.loads((tmp_path / "results.json").read_text())["best"] is None
    assert not partial.improved


def test_writing_changes_the_one_file_and_keeps_every_old_one(slot: Slot) -> None:
    before = slot.config.text
    for number, best in enumerate([standing(BETTER, 1), standing(NOW, 1)], start=1):
        now = Slot.find(slot.folder.parent, "tiny")
        kept = write(now, best)
        assert kept.name == ("config.pbtxt.old" if number == 1 else "config.pbtxt.old-2")
        assert kept.read_text() == now.config.text
        assert Slot.find(slot.folder.parent, "tiny").config.candidate == best.candidate
    assert (slot.folder / "config.pbtxt").read_text() == before


def test_the_difference_is_what_writing_would_change(slot: Slot) -> None:
    changed = [
        line for line in difference(slot, standing(BETTER, 1)).splitlines() if line[0] in "+-"
    ]
    assert [line for line in changed if not line.startswith(("+++", "---"))] == [
        "-dynamic_batching { max_queue_delay_microseconds: 20000 }",
        "-instance_group [ { kind: KIND_CPU count: 1 } ]",
        "+dynamic_batching { max_queue_delay_microseconds: 0 }",
        "+instance_group [ { kind: KIND_CPU count: 2 } ]",
    ]


def test_a_file_that_was_changed_meanwhile_is_left_alone(slot: Slot) -> None:
    path = slot.folder / "config.pbtxt"
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(SettingsError, match="changed meanwhile"):
        write(slot, standing(BETTER, 1))
    assert sorted(each.name for each in slot.folder.iterdir()) == ["1", "config.pbtxt"]


def test_no_repository_no_model_and_no_file_are_told_apart(slot: Slot, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no models: set TRITON_MODEL_REPOSITORY"):
        Slot.find(tmp_path / "elsewhere", "tiny")
    with pytest.raises(SettingsError, match="has no model other; it has tiny"):
        Slot.find(tmp_path, "other")
    (slot.folder / "1" / "model.onnx").unlink()
    with pytest.raises(ModelError, match="no model file: run `fess models fetch`"):
        Slot.find(tmp_path, "tiny")


def test_a_chart_of_one_point_or_none_can_be_drawn() -> None:
    for points in ((), (Point(0, 0, "<only>", marked=True),)):
        said = words(Scatter("title", "x", "y", (Series("one", points, joined=True),)).svg())
        assert ("<only>" in said) is bool(points)


def test_a_ratio_below_its_bar_is_drawn_otherwise() -> None:
    nan = float("nan")
    rows = Ratio("holds", 1.0, 0.96, 1.1, 0.95), Ratio("misses", 0.9, 0.8, 1.0, 0.95)
    svg = Forest("title", (*rows, Ratio("single", 1.0, nan, nan))).svg()
    colours = [circle.get("fill") for circle in ET.fromstring(svg).iter() if "circle" in circle.tag]
    assert colours[0] != colours[1]
    assert colours[0] == colours[2]

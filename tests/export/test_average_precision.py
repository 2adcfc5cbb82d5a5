"""Average precision: the figures that can be worked out by hand come out."""

import json
from pathlib import Path

import numpy as np
import pytest

from export import coco
from export.mmdeploy.average_precision import evaluate
from export.parity import Rows

SIDE = 100.0
SIZE = 640
# Recall is looked at in 101 places, 0.00 to 1.00.
PLACES = 101


def rows(*found: tuple[float, float, float, int]) -> Rows:
    """Squares of 100 pixels: (left, top, score, label)."""
    corners = [(left, top, left + SIDE, top + SIDE) for left, top, _, _ in found]
    return Rows(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array([each[2] for each in found], np.float32),
        np.array([each[3] for each in found], np.int32),
    )


def figures(truth: list[Rows], found: list[Rows], folder: Path) -> dict[str, float]:
    """Of `found`, where `truth` is what is there."""
    content, _ = coco.truth(truth, 0.5, SIZE)
    (folder / "truth.json").write_text(content)
    scales = coco.as_they_are(len(found), SIZE)
    results = coco.results(found, range(len(found)), scales, {0: 0, 1: 1})
    (folder / "rows.json").write_text(results)
    job = {
        "truth": str(folder / "truth.json"),
        "detections": {"it": str(folder / "rows.json")},
    }
    answer: dict[str, float] = evaluate(job)["figures"]["it"]
    return answer


@pytest.mark.parametrize(
    ("shift", "passed"),
    # Two squares of 100 that are d apart share (100 - d) / (100 + d).
    [(0.0, 10), (2.0, 10), (4.0, 9), (9.0, 7), (20.0, 4), (30.0, 1), (40.0, 0)],
)
def test_a_shifted_box_is_right_up_to_the_overlap_that_is_left(
    tmp_path: Path, shift: float, passed: int
) -> None:
    truth = [rows((50, 50, 0.9, 0)) for _ in range(3)]
    found = [rows((50 + shift, 50, 0.9, 0)) for _ in range(3)]
    answer = figures(truth, found, tmp_path)
    assert answer["ap"] == pytest.approx(10.0 * passed)
    assert answer["ap50"] == pytest.approx(100.0 if passed else 0.0)
    assert answer["ar"] == pytest.approx(10.0 * passed)


def test_half_of_the_objects_give_half_of_the_points(tmp_path: Path) -> None:
    truth = [rows((0, 0, 0.9, 0), (300, 0, 0.9, 0)) for _ in range(4)]
    found = [rows((0, 0, 0.9, 0)) for _ in range(4)]
    answer = figures(truth, found, tmp_path)
    assert answer["ar"] == pytest.approx(50.0)
    assert answer["ap"] == pytest.approx(100.0 * 51 / PLACES)


def test_a_wrong_row_costs_only_where_it_is_surer_than_the_right_one(tmp_path: Path) -> None:
    truth = [rows((0, 0, 0.9, 0))]
    surer = figures(truth, [rows((400, 0, 0.9, 0), (0, 0, 0.8, 0))], tmp_path)
    weaker = figures(truth, [rows((0, 0, 0.8, 0), (400, 0, 0.7, 0))], tmp_path)
    assert surer["ap"] == pytest.approx(50.0)
    assert weaker["ap"] == pytest.approx(100.0)


def test_classes_count_the_same_however_many_objects_they_have(tmp_path: Path) -> None:
    truth = [rows((0, 0, 0.9, 0), (200, 0, 0.9, 0), (400, 0, 0.9, 0), (0, 300, 0.9, 1))]
    found = [rows((0, 0, 0.9, 0), (200, 0, 0.9, 0), (400, 0, 0.9, 0))]
    assert figures(truth, found, tmp_path)["ap"] == pytest.approx(50.0)


def test_nothing_found_is_no_point(tmp_path: Path) -> None:
    assert figures([rows((0, 0, 0.9, 0))], [rows()], tmp_path)["ap"] == 0.0


def test_the_first_object_counts_as_any_other(tmp_path: Path) -> None:
    content, count = coco.truth([rows((0, 0, 0.9, 0))], 0.5, SIZE)
    assert count == 1
    assert json.loads(content)["annotations"][0]["id"] == 1
    assert figures([rows((0, 0, 0.9, 0))], [rows((0, 0, 0.9, 0))], tmp_path)["ap"] == pytest.approx(
        100.0
    )


def test_a_crowd_is_neither_found_nor_missed(tmp_path: Path) -> None:
    content, _ = coco.truth([rows((0, 0, 0.9, 0), (300, 300, 0.9, 0))], 0.5, SIZE)
    truth = json.loads(content)
    truth["annotations"][1] |= {"iscrowd": 1, "bbox": [200, 200, 300, 300], "area": 90000}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    # Sure of one of the crowd, less sure of the single object: the first does not count.
    found = [rows((320, 320, 0.95, 0), (0, 0, 0.9, 0))]
    results = coco.results(found, [0], coco.as_they_are(1, SIZE), {0: 0})
    (tmp_path / "rows.json").write_text(results)
    job = {"truth": str(tmp_path / "truth.json"), "detections": {"it": str(tmp_path / "rows.json")}}
    assert evaluate(job)["figures"]["it"]["ap"] == pytest.approx(100.0)


def test_rows_are_told_in_pixels_of_the_source_and_end_at_its_edge() -> None:
    # A picture of 400 x 200 in an input of 640: 1.6 network pixels a source pixel.
    scales = np.array([[1.6, 1.6, 400.0, 200.0]])
    found = Rows(
        np.array([[160, 160, 320, 640]], np.float32),
        np.array([0.5], np.float32),
        np.array([1], np.int32),
    )
    (row,) = json.loads(coco.results([found], [42], scales, {1: 9}))
    assert (row["image_id"], row["category_id"]) == (42, 9)
    assert row["bbox"] == pytest.approx([100.0, 100.0, 100.0, 100.0])
    assert json.loads(coco.results([found], [42], scales, {0: 9})) == []

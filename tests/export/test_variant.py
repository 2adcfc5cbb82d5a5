"""Exporting for planes: the served graph takes them, computes what MMDeploy's file computes, and finds what RGB shows.

The environment is a stand-in (standing_in.py); everything else is real.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest

from export import cost
from export import pictures as sets
from export.coco import Scales, as_they_are
from export.detecting import in_rgb
from export.exported import note_of
from export.parity import Difference, Rows, Tolerance
from export.proof import Proof
from export.serving import pixels_of
from export.variant import Variant
from orchestrator.errors import ModelError
from orchestrator.inference.pixels import planar, rgb
from tests.export.agreement import filmed
from tests.export.bench import SIZE, Bench
from tests.export.footage import PEOPLE_CLIP

INPUTS = {"rgb": ["images"], "planar": ["luma", "chroma", "colour"]}
SAME = Difference(rows=99, paired=99, missing=0, extra=0, box_px=0.0, box_px_median=0.0, score=0.0)


@pytest.fixture(autouse=True)
def in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on fewer frames."""
    monkeypatch.setattr(sets, "AGREED_ON", 48)
    monkeypatch.setattr(sets, "CALIBRATED_ON", 16)
    monkeypatch.setattr(cost, "TURNS", 2)


def on(clips: Path) -> dict[str, Any]:
    return {"pictures": (clips / PEOPLE_CLIP,)}


def inputs(model: Path) -> dict[str, list[int | str]]:
    return {
        each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim]
        for each in onnx.load(model).graph.input
    }


@pytest.mark.parametrize(
    ("pixels", "luma"), [("planar", ["N", SIZE, SIZE]), ("decoded", ["N", "H", "W"])]
)
def test_a_version_that_takes_planes_lands_with_its_proof(
    bench: Bench, clips: Path, pixels: Literal["planar", "decoded"], luma: list[int | str]
) -> None:
    result = bench.export(pixels=pixels, **on(clips))
    assert inputs(result.folder / "model.onnx")["luma"] == luma
    assert pixels_of((bench.slot / "config.pbtxt").read_text()) == pixels
    note = note_of(result.folder)
    assert note is not None
    assert note.options["pixels"] == pixels
    proof = Proof.model_validate_json((result.folder / "parity.json").read_bytes())
    assert list(proof.parity.differences) == ["exported"]
    assert proof.variant is not None
    assert proof.variant.pixels == pixels
    assert proof.variant.same.rows >= 20
    assert proof.variant.same.box_px < 0.05
    assert proof.variant.rows >= 20
    assert f"{pixels} pixels" in (result.folder / "parity.txt").read_text()


def test_other_pixels_are_another_version_for_which_mmdetection_is_asked_nothing(
    bench: Bench, clips: Path
) -> None:
    first = bench.export(pixels="planar", **on(clips))
    assert bench.asked() == ["read", "convert", "answer"]
    assert not bench.export(pixels="planar", **on(clips)).changed
    second = bench.export(**on(clips))
    assert (second.changed, bench.asked()) == (True, [])
    assert second.proof.variant is None
    taken = [list(inputs(each.folder / "model.onnx")) for each in (first, second)]
    assert taken == [INPUTS["planar"], INPUTS["rgb"]]


def test_planes_are_lowered_as_rgb_is(bench: Bench, clips: Path) -> None:
    result = bench.export(pixels="planar", precision="int8", **on(clips))
    assert result.proof.variant is not None
    assert result.proof.lowered is not None
    assert result.proof.cost is not None
    assert list(inputs(result.folder / "model.onnx")) == INPUTS["planar"]


def test_a_network_that_finds_nothing_sure_in_the_pictures_is_refused(bench: Bench) -> None:
    before = bench.served()
    with pytest.raises(ModelError, match=r"planar: only \d+ rows are sure.*export PIXELS=rgb"):
        bench.export(pixels="planar")
    assert bench.served() == before


def test_the_colours_that_planes_mean_are_those_of_the_picture(clips: Path) -> None:
    for picture in filmed(clips / PEOPLE_CLIP, 60, most=3):
        (planes, _), (bytes_, _) = planar(picture, SIZE), rgb(picture, SIZE)
        apart = np.abs(in_rgb(planes) - in_rgb(bytes_))
        assert apart.mean() < 2.0


def found(*rows: tuple[float, float], label: int = 0, side: float = 40.0) -> Rows:
    """Squares: (left edge, score)."""
    boxes = [(left, 0.0, left + side, side) for left, _ in rows]
    return Rows(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for _, score in rows], np.float32),
        np.full(len(rows), label, np.int32),
    )


def judged(reference: list[Rows], other: list[Rows], scale: float = 1.0) -> Variant:
    plain, own = as_they_are(len(reference), SIZE), ways(len(other), scale)
    return Variant.of("planar", SAME, Tolerance(), (reference, plain), (other, own))


def ways(count: int, scale: float) -> Scales:
    return np.tile(np.array([scale, scale, SIZE, SIZE]), (count, 1))


def test_boxes_are_compared_in_pixels_of_the_picture() -> None:
    variant = judged([found((10, 0.9))] * 10, [found((20, 0.9), side=80.0)] * 10, scale=2.0)
    assert (variant.rows, variant.iou_least, variant.farther) == (20, 1.0, 0)
    variant.require()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (found((11.0, 0.9)), r"20 of 40 rows share 0\.98 or less"),
        (found((20.0, 0.9)), r"a row shares 0\.600 with the nearest one in RGB"),
        (found((10.0, 0.8)), r"a score is 0\.100 from that in RGB"),
        (found((10.0, 0.2)), r"a row shares 0\.000"),
        (found((10.0, 0.9), label=1), r"a row shares 0\.000"),
    ],
    ids=["moved", "moved far", "less sure", "lost", "another class"],
)
def test_what_is_found_elsewhere_in_planes_is_told(other: Rows, reason: str) -> None:
    same = found((10.0, 0.9))
    with pytest.raises(ModelError, match=reason):
        judged([same] * 20, [other] * 10 + [same] * 10).require()


def test_one_row_that_moved_a_little_is_no_reason() -> None:
    same = found((10.0, 0.9))
    judged([same] * 50, [found((10.5, 0.9))] + [same] * 49).require()


def test_another_sum_in_the_graph_is_told_apart_from_other_pictures() -> None:
    wrong = SAME.model_copy(update={"box_px": 3.0})
    same = ([found((10.0, 0.9))] * 10, as_they_are(10, SIZE))
    with pytest.raises(ModelError, match=r"given the same colours, a box is 3\.000 px off"):
        Variant.of("planar", wrong, Tolerance(), same, same).require()

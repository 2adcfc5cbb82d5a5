"""Decoding with constants: the rows that the graph's own decoding gives, or that decoding itself."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from export.graphs import object_detector as graph
from export.graphs.heads import Candidates
from export.graphs.trunk import inner_convolutions
from export.manifest import Model, load
from export.rtmdet import preprocessing
from tests.export.footage import PEOPLE_CLIP, letterboxed, pictures
from tests.export.heads import STRIDES, Head, ending
from tests.export.onnx_files import detector

NANO = load().model("rtmdet_nano_person_320")
Rows = Mapping[str, NDArray[np.generic]]

HEADS = {
    "one class": Head(classes=1),
    "eighty classes": Head(classes=80),
    "as many classes as a box has sides": Head(classes=4),
    "a larger picture": Head(side=160, candidates=400),
    "exponential distances": Head(grown=True),
    "distances in pixels": Head(scaled=False),
    "boxes that end with the picture": Head(clipped=True),
    "all candidates in their order": Head(candidates=None),
    "all candidates, best first": Head(candidates=189),
}
OTHERS = {
    "points in the middle of cells": Head(offset=0.5),
    "scores that are squared": Head(doubled=True),
    "boxes that depend on features": Head(borrowed=True),
    "an operator set from before Clip took its limits as inputs": Head(opset=10, candidates=None),
}


def model_of(side: int) -> Model:
    return NANO.model_copy(update={"preprocessing": preprocessing(side)})


def edited(source: onnx.ModelProto, side: int) -> onnx.ModelProto:
    return graph.object_detector(source, model_of(side))


@pytest.fixture
def by_itself(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The rows are then those that the graph decodes by its own nodes."""
    monkeypatch.setattr(graph, "candidates", lambda editor, node, size: Candidates(*node.input[:2]))
    return monkeypatch


def rows(network: onnx.ModelProto, images: NDArray[np.uint8]) -> Rows:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = ["count", "boxes", "scores", "labels"]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def noise(batch: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, side, side, 3), np.uint8)


def kinds(network: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in network.graph.node]


def test_nothing_is_left_of_the_public_detectors_own_decoding(models_mirror: Path) -> None:
    made = kinds(edited(onnx.load(models_mirror / NANO.file), 320))
    assert made.count("TopK") == 1  # that of the rows
    assert not {"Range", "ReduceMax", "Unsqueeze", "Where"}.intersection(made)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_public_detectors_rows_stay_what_they_were_to_the_last_bit(
    batch: int, models_mirror: Path, clips: Path, by_itself: pytest.MonkeyPatch
) -> None:
    source = onnx.load(models_mirror / NANO.file)
    frames = pictures(clips / PEOPLE_CLIP, [0, 60, 80, 100, 120, 150, 300, 420])
    images = np.stack([letterboxed(frame, 320, 114) for frame in frames])
    before = edited(source, 320)
    by_itself.undo()
    after = edited(source, 320)
    assert len(after.graph.node) < len(before.graph.node) - 100
    found = 0
    for start in range(0, len(images) - batch + 1, batch):
        part = images[start : start + batch]
        wanted, got = rows(before, part), rows(after, part)
        found += int(np.asarray(wanted["count"]).sum())
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name], value)
    assert found > 20


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_whatever_ends_as_an_rtmdet_is_decoded_with_constants_to_the_same_rows(
    head: Head, batch: int, by_itself: pytest.MonkeyPatch
) -> None:
    # A limit before suppression loses rows that come after it; here none of them is among the best.
    before = edited(ending(replace(head, candidates=None)), head.side)
    by_itself.undo()
    after = edited(ending(head), head.side)
    assert kinds(after).count("TopK") == 1
    assert kinds(after).count("ReduceMax") == 0
    assert kinds(after).count("Transpose") == 1  # none for any grid
    images = noise(batch, head.side)
    wanted, got = rows(before, images), rows(after, images)
    assert np.asarray(wanted["count"]).min() > 0
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_what_only_looks_like_an_rtmdet_is_left_to_decode_by_itself(
    head: Head, by_itself: pytest.MonkeyPatch
) -> None:
    before = edited(ending(head), head.side)
    by_itself.undo()
    after = edited(ending(head), head.side)
    assert kinds(after) == kinds(before)
    if head.opset >= 11:
        images = noise(2, head.side)
        for name, value in rows(before, images).items():
            np.testing.assert_array_equal(rows(after, images)[name], value)


def test_a_detector_that_ends_otherwise_keeps_its_own_boxes_and_scores() -> None:
    boxes = np.array([[0, 0, 4, 4]] * 100, np.float32)
    scores = np.full((1, 100), 0.9, np.float32)
    answer = rows(edited(detector(boxes, scores), 8), noise(2, 8))
    assert answer["count"].tolist() == [[1], [1]]


def test_grids_that_do_not_fill_the_picture_are_left_alone(by_itself: pytest.MonkeyPatch) -> None:
    head = Head(side=STRIDES[-1] * 2 + 8, candidates=None)
    before = kinds(edited(ending(head), head.side))
    by_itself.undo()
    assert kinds(edited(ending(head), head.side)) == before


def test_the_convolutions_that_may_be_lowered_are_the_same(
    models_mirror: Path, by_itself: pytest.MonkeyPatch
) -> None:
    source = onnx.load(models_mirror / NANO.file)
    before = inner_convolutions(edited(source, 320))
    by_itself.undo()
    assert inner_convolutions(edited(source, 320)) == before
    assert len(before) == 117

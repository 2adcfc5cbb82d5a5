"""Finished rows: whatever candidates a detector has, each picture gets the same survivors as a plain reference."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.graphs.object_detector import IOU, ROWS, SCORE, object_detector
from export.manifest import Model, Preprocessing
from tests.export.onnx_files import detector

Array = NDArray[np.float32]

MODEL = Model(
    name="tiny",
    title="tiny",
    slot="object_detector",
    version="1",
    file="tiny.onnx",
    licence="Apache-2.0",
    homepage="https://example.org",
    sha256="0" * 64,
    preprocessing=Preprocessing(
        width=8, height=8, color="BGR", mean=(1, 2, 3), std=(4, 5, 6), resize="letterbox"
    ),
)


def rows(boxes: Array, scores: Array, batch: int = 2) -> dict[str, NDArray[np.generic]]:
    model = object_detector(detector(boxes, scores), MODEL)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = ["count", "boxes", "scores", "labels"]
    values = session.run(names, {"images": np.full((batch, 8, 8, 3), 9, np.uint8)})
    return dict(zip(names, values, strict=True))


def overlap(one: Array, other: Array) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / both if both > 0 else 0.0


def survivors(boxes: Array, scores: Array) -> set[tuple[int, int]]:
    """Class and candidate of every box that greedy suppression keeps, one class at a time."""
    kept: set[tuple[int, int]] = set()
    for label, of_class in enumerate(scores):
        chosen: list[int] = []
        for index in sorted(np.flatnonzero(of_class > SCORE), key=lambda i: -of_class[i]):
            if all(overlap(boxes[index], boxes[other]) <= IOU for other in chosen):
                chosen.append(int(index))
        kept |= {(label, index) for index in chosen[:ROWS]}
    return kept


def candidates(seed: int, classes: int, number: int) -> tuple[Array, Array]:
    """Crowded boxes with scores that are all different."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 40, (number, 2))
    size = random.uniform(8, 30, (number, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    ranks = random.permutation(classes * number).reshape(classes, number)
    return boxes, ((ranks + 0.5) / (classes * number)).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 4), number=st.integers(100, 140))
def test_every_picture_of_a_batch_gets_the_survivors_of_each_class_best_first(
    seed: int, classes: int, number: int
) -> None:
    boxes, scores = candidates(seed, classes, number)
    result = rows(boxes, scores)
    wanted = sorted(survivors(boxes, scores), key=lambda at: -scores[at])[:ROWS]
    for picture in range(2):
        assert result["count"][picture] == [len(wanted)]
        found = result["labels"][picture][: len(wanted)]
        assert found.tolist() == [label for label, _ in wanted]
        np.testing.assert_array_equal(
            result["boxes"][picture][: len(wanted)], boxes[[index for _, index in wanted]]
        )
        np.testing.assert_array_equal(
            result["scores"][picture][: len(wanted)], [scores[at] for at in wanted]
        )


def test_rows_beyond_the_count_are_zero() -> None:
    boxes, scores = candidates(7, 2, 100)
    scores[scores < 0.9] = 0.01
    result = rows(boxes, scores)
    count = int(result["count"][0, 0])
    assert 0 < count < ROWS
    assert all(not result[name][:, count:].any() for name in ("boxes", "scores", "labels"))


def test_a_picture_without_any_candidate_has_no_row() -> None:
    boxes, scores = candidates(7, 1, 100)
    result = rows(boxes, np.full_like(scores, 0.01))
    assert result["count"].tolist() == [[0], [0]]
    assert not any(result[name].any() for name in ("boxes", "scores", "labels"))


def test_of_more_survivors_than_rows_the_best_are_kept() -> None:
    steps = np.arange(150, dtype=np.float32)[:, np.newaxis] * 20
    boxes = np.concatenate([steps, steps, steps + 10, steps + 10], axis=1)
    scores = np.linspace(0.1, 0.9, 150, dtype=np.float32)[np.newaxis]
    result = rows(boxes, scores, batch=1)
    assert result["count"].tolist() == [[ROWS]]
    np.testing.assert_array_equal(result["scores"][0], scores[0, ::-1][:ROWS])


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_batch_dimension_is_real(batch: int) -> None:
    result = rows(*candidates(3, 1, 100), batch=batch)
    assert result["count"].shape == (batch, 1)
    assert result["boxes"].shape == (batch, ROWS, 4)
    assert result["boxes"].dtype == np.float32
    assert result["labels"].dtype == result["count"].dtype == np.int32

"""Of boxes that overlap too much, the most confident of a class stays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from orchestrator.inference.suppression import suppress
from orchestrator.iou import iou


def columns(
    *rows: tuple[float, float, float, float, float, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return table[:, :4], table[:, 4], table[:, 5].astype(np.int32)


def test_the_weaker_of_two_boxes_of_one_object_is_dropped() -> None:
    found = columns((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 9, 0.9, 0))
    assert suppress(*found, threshold=0.5).tolist() == [1]


def test_boxes_of_different_classes_do_not_compete() -> None:
    found = columns((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 10, 0.9, 1))
    assert suppress(*found, threshold=0.5).tolist() == [1, 0]


def test_a_box_that_was_dropped_drops_no_other() -> None:
    found = columns((0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.8, 0), (8, 0, 18, 10, 0.7, 0))
    assert suppress(*found, threshold=0.4).tolist() == [0, 2]


def test_nothing_in_gives_nothing_out() -> None:
    assert suppress(*columns(), threshold=0.5).tolist() == []


@given(
    boxes=arrays(np.float32, (12, 4), elements=st.floats(0, 100, width=32)),
    scores=arrays(np.float32, 12, elements=st.floats(0, 1, width=32)),
    threshold=st.floats(0.1, 0.9),
)
def test_no_two_kept_boxes_overlap_by_more_than_the_threshold(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float
) -> None:
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    kept = suppress(boxes, scores, np.zeros(12, np.int32), threshold)
    overlaps = iou(boxes[kept], boxes[kept])
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= threshold).all()
    assert scores[kept].tolist() == sorted(scores[kept], reverse=True)

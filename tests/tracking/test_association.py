"""Pairs of tracks and detections are those whose summed overlap is greatest, and none is below the gate."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.tracking.association import assign, overlap

Floats = NDArray[np.float64]
BOX = np.array([[0.0, 0.0, 10.0, 10.0]])
NO_MARGIN = np.zeros((1, 2))

likenesses = st.integers(0, 4).flatmap(
    lambda rows: st.integers(0, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 20), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        ).map(lambda values: np.array(values, np.float64).reshape(rows, columns) / 20)
    )
)


def best(likeness: Floats, least: float) -> float:
    """Greatest sum of what pairs have above the gate, by trying every assignment."""
    rows, columns = likeness.shape
    gain = np.maximum(likeness - least, 0)
    if rows > columns:
        gain = gain.T
    few, many = gain.shape
    return max(
        sum(float(gain[row, column]) for row, column in zip(range(few), chosen, strict=True))
        for chosen in permutations(range(many), few)
    )


@given(likenesses, st.sampled_from([0.0, 0.2, 0.5]))
def test_no_other_assignment_is_better(likeness: Floats, least: float) -> None:
    rows, columns = assign(likeness, least)
    assert len({*rows.tolist()}) == len({*columns.tolist()}) == len(rows)
    assert rows.tolist() == sorted(rows.tolist())
    assert (likeness[rows, columns] > least).all()
    assert float((likeness[rows, columns] - least).sum()) == pytest.approx(best(likeness, least))


def test_a_bad_pair_is_none_even_if_nothing_else_is_left() -> None:
    rows, columns = assign(np.array([[0.9, 0.0], [0.0, 0.1]]), 0.2)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([0, 0, 10, 10], 1.0),
        ([5, 0, 15, 10], 1 / 3),
        ([0, 0, 5, 5], 0.25),
        ([10, 0, 20, 10], 0.0),
        ([30, 30, 40, 40], 0.0),
    ],
)
def test_overlap_is_intersection_over_union(other: list[float], expected: float) -> None:
    assert overlap(BOX, np.array([other], np.float64), NO_MARGIN)[0, 0] == pytest.approx(expected)


def test_with_a_margin_boxes_that_stand_apart_overlap_and_equal_ones_still_do_fully() -> None:
    others = np.array([[12.0, 0.0, 22.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    grown = overlap(BOX, others, np.array([[5.0, 0.0]]))
    assert grown[0, 0] == pytest.approx(8 / 32)
    assert grown[0, 1] == pytest.approx(1.0)


def test_every_track_grows_by_its_own_margin() -> None:
    tracks = np.repeat(BOX, 2, axis=0)
    apart = np.array([[12.0, 0.0, 22.0, 10.0]])
    assert (overlap(tracks, apart, np.array([[0.0, 0.0], [5.0, 0.0]])) > 0).ravel().tolist() == [
        False,
        True,
    ]

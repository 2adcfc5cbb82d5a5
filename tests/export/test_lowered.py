"""Fewer bits without labels: what was sure in float32 has to be found again, and a client has to see it still."""

import numpy as np
import pytest

from export.lowered import kept
from export.parity import Rows


def rows(*found: tuple[float, float, int]) -> Rows:
    """Squares of 100 pixels in a row: (left, score, label)."""
    return Rows(
        np.array([(left, 0, left + 100, 100) for left, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int32),
    )


@pytest.mark.parametrize(
    ("fewer", "count"),
    [
        (rows((0, 0.9, 0), (300, 0.6, 0)), 2),
        (rows((0, 0.5, 0), (333, 0.5, 0)), 2),  # a third of their side apart
        (rows((0, 0.9, 0), (300, 0.49, 0)), 1),
        (rows((0, 0.9, 0), (340, 0.9, 0)), 1),
        (rows((0, 0.9, 0), (300, 0.9, 1)), 1),
        (rows((700, 0.9, 0)), 0),
        (rows(), 0),
    ],
    ids=["same", "moved", "unsure", "elsewhere", "other-class", "nothing-near", "nothing"],
)
def test_a_sure_row_is_kept_by_a_sure_one_of_its_class_on_the_same_object(
    fewer: Rows, count: int
) -> None:
    whole = rows((0, 0.9, 0), (300, 0.6, 0), (600, 0.4, 0))
    assert kept([whole], [fewer]) == count


def test_pictures_are_not_mixed() -> None:
    one, nothing = rows((0, 0.9, 0)), rows()
    assert kept([one, nothing], [nothing, one]) == 0
    assert kept([one, one], [one, one]) == 2

"""Parity: every row of MMDetection has its partner within tolerance, or the export fails and says why."""

import numpy as np
import pytest

from export.parity import Parity, Rows, Tolerance
from orchestrator.errors import ModelError

LEAST, MOST = 0.05, 100
TOLERANCE = Tolerance(objects=3)


def rows(*found: tuple[float, float, int]) -> Rows:
    """Squares of 10 pixels: (left edge, score, label)."""
    left = np.array([each[0] for each in found], np.float32)
    return Rows(
        np.stack([left, left, left + 10, left + 10], axis=1),
        np.array([each[1] for each in found], np.float32),
        np.array([each[2] for each in found], np.int32),
    )


REFERENCE = rows((0, 0.9, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0))


def compared(other: Rows, reference: Rows = REFERENCE, tolerance: Tolerance = TOLERANCE) -> Parity:
    return Parity.of([reference], {"served": [other]}, tolerance, LEAST, MOST)


def test_equal_answers_pass_in_any_order() -> None:
    parity = compared(rows((200, 0.2, 0), (0, 0.9, 0), (100, 0.3, 0), (50, 0.8, 1)))
    parity.require()
    assert parity.passed
    assert parity.differences["served"].paired == 4


def test_differences_within_tolerance_pass_and_are_reported() -> None:
    parity = compared(rows((0.25, 0.902, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0)))
    parity.require()
    found = parity.differences["served"]
    assert found.box_px == pytest.approx(0.25)
    assert found.score == pytest.approx(0.002, abs=1e-6)
    assert "passed" in parity.text()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (rows((1, 0.9, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0)), "a box is 1.000 px off"),
        (rows((0, 0.8, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0)), "a score is 0.10000 off"),
        (rows((0, 0.9, 0), (50, 0.8, 1), (100, 0.3, 0)), "1 rows are missing"),
        (rows((0, 0.9, 1), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0)), "1 rows are missing and 1"),
        (
            rows((0, 0.9, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0), (300, 0.7, 0)),
            "1 are extra",
        ),
        (rows(), "4 rows are missing"),
    ],
)
def test_whatever_is_beyond_tolerance_fails_with_its_reason(other: Rows, reason: str) -> None:
    parity = compared(other)
    assert not parity.passed
    assert "FAILED" in parity.text()
    with pytest.raises(ModelError, match=f"served: .*{reason}"):
        parity.require()


def test_a_row_on_the_limit_needs_no_partner() -> None:
    on_the_limit = rows((0, 0.9, 0), (50, 0.8, 1), (100, 0.3, 0), (200, 0.2, 0), (300, 0.0501, 0))
    parity = compared(REFERENCE, reference=on_the_limit)
    parity.require()
    assert parity.differences["served"].missing == 0
    compared(on_the_limit).require()


def test_where_the_rows_are_full_the_weakest_need_no_partner() -> None:
    many = [(float(30 * each), 0.9 - 0.005 * each, 0) for each in range(MOST)]
    swapped = [*many[:-1], (9000.0, 0.406, 0)]
    compared(rows(*swapped), reference=rows(*many)).require()


def test_neighbours_are_not_paired_twice() -> None:
    close = rows((0, 0.9, 0), (4, 0.8, 0), (8, 0.7, 0))
    parity = compared(rows((0, 0.9, 0), (0, 0.9, 0), (8, 0.7, 0)), reference=close)
    assert not parity.passed


def test_too_few_objects_prove_nothing() -> None:
    parity = compared(rows((0, 0.9, 0)), reference=rows((0, 0.9, 0)))
    assert not parity.passed
    with pytest.raises(ModelError, match="only 1 objects in 1 frames, which proves nothing"):
        parity.require()


def test_the_report_can_be_read_again() -> None:
    parity = compared(REFERENCE)
    assert Parity.model_validate_json(parity.model_dump_json()) == parity

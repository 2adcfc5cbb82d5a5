"""Accuracy: points of AP that are lost on labelled pictures, and what that means."""

import pytest

from export.accuracy import Accuracy
from orchestrator.errors import ModelError


def accuracy(reference: float, served: float, most_loss: float = 0.5) -> Accuracy:
    figures = {
        name: {"ap": ap, "ap50": ap, "ar": ap}
        for name, ap in (("MMDetection", reference), ("served", served))
    }
    return Accuracy.of(10, 50, most_loss, figures)


@pytest.mark.parametrize("served", [70.0, 69.5, 75.0])
def test_a_loss_up_to_the_limit_and_any_gain_pass(served: float) -> None:
    found = accuracy(70.0, served)
    found.require()
    assert found.loss("served") == pytest.approx(70.0 - served)
    assert "passed" in found.text()


def test_a_greater_loss_fails_with_both_figures() -> None:
    found = accuracy(70.0, 69.4)
    with pytest.raises(ModelError, match=r"served: 0\.60 points of AP are lost, 0\.5 are allowed"):
        found.require()
    assert "FAILED" in found.text()


def test_the_limit_may_be_none_at_all() -> None:
    accuracy(70.0, 70.0, most_loss=0.0).require()
    with pytest.raises(ModelError):
        accuracy(70.0, 69.99, most_loss=0.0).require()


def test_where_mmdetection_finds_nothing_nothing_is_proven() -> None:
    with pytest.raises(ModelError, match="MMDetection itself finds none of the 50 labelled"):
        accuracy(0.0, 0.0).require()


def test_the_report_can_be_read_again() -> None:
    found = accuracy(70.0, 69.0)
    assert Accuracy.model_validate_json(found.model_dump_json()) == found

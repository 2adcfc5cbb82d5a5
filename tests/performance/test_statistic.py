"""Percentiles are values that occurred, and an interval says how far a figure may be off."""

import math

import pytest

from tests.performance.statistic import (
    geometric_mean,
    interval_of_mean,
    interval_of_percentile,
    percentile,
    slope,
)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], share) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_an_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [float(n % 7) for n in range(50)]
    low, high = interval_of_mean(values)
    assert low < sum(values) / 50 < high
    assert interval_of_mean(values) == (low, high)


def test_an_interval_of_a_percentile_holds_it() -> None:
    values = [float(n) for n in range(1000)]
    low, high = interval_of_percentile(values, 0.95)
    assert low <= percentile(values, 0.95) <= high
    assert low < high


def test_ratios_are_averaged_so_that_a_double_and_a_half_are_even() -> None:
    mean, low, high = geometric_mean([2.0, 0.5, 2.0, 0.5])
    assert mean == pytest.approx(1.0)
    assert low < 1.0 < high


def test_a_slope_is_found_with_its_interval() -> None:
    found, low, high = slope([float(n) for n in range(40)], [3.0 * n + (n % 3) for n in range(40)])
    assert low <= found <= high
    assert found == pytest.approx(3.0, abs=0.05)

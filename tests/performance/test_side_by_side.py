"""Side by side: what counts as a pair, what a verdict stands on, and how traffic is shared out."""

import math

import pytest

from tests.performance.side_by_side import Comparison, Measured, Pair
from tests.performance.throughput import Throughput
from tests.performance.traffic import Traffic


def measured(per_s: float, batch: float = 2.0, p99_ms: float = 10.0) -> Measured:
    return Measured(Throughput(per_s, batch, 0), p99_ms, 0.5, 1.0)


def comparison(*ratios: float, batch: float = 2.0, own_batches: bool = False) -> Comparison:
    pairs = tuple(Pair(measured(100 * ratio), measured(100, batch)) for ratio in ratios)
    return Comparison("what", pairs, 0.95, own_batches)


def test_the_verdict_is_of_the_lower_end_of_the_interval() -> None:
    assert comparison(0.97, 0.98, 0.99, 0.97, 0.98).figure().held is True
    doubtful = comparison(1.1, 1.1, 0.8, 1.1, 0.9)
    assert doubtful.ratio()[0] > 0.95
    assert doubtful.figure().held is False


@pytest.mark.parametrize(("batch", "void"), [(2.0, False), (2.2, False), (2.3, True), (1.8, True)])
def test_a_pair_with_other_batches_is_void(batch: float, void: bool) -> None:
    assert Pair(measured(100), measured(100, batch)).void is void


def test_with_fewer_than_five_pairs_that_count_there_is_no_verdict() -> None:
    assert comparison(*[1.0] * 4).figure().held is None
    figure = comparison(*[1.0] * 5, batch=4.0).figure()
    assert figure.held is None
    assert "5 void" in figure.spread


def test_the_pipelines_batches_are_its_own_doing() -> None:
    figure = comparison(*[1.0] * 5, batch=4.0, own_batches=True).figure()
    assert figure.held is True
    assert "batches differ in 5" in figure.spread


def test_a_load_that_tells_no_latency_has_none_in_the_table() -> None:
    pair = Pair(measured(100, p99_ms=math.nan), measured(100))
    assert "– / 10.00" in Comparison("what", (pair,), None).row()  # noqa: RUF001


def test_traffic_is_shared_out_whole() -> None:
    assert [t.concurrency for t in Traffic(concurrency=7, processes=3).shares()] == [3, 2, 2]
    assert [t.rate for t in Traffic(rate=90.0, processes=3).shares()] == [30.0] * 3
    assert len(Traffic(concurrency=1, processes=2).shares()) == 1


@pytest.mark.parametrize("given", [{}, {"concurrency": 1, "rate": 1.0}])
def test_traffic_is_closed_or_open(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not both"):
        Traffic(**given)  # type: ignore[arg-type]  # what is wrong on purpose

"""Side by side: what counts as a pair, what a verdict stands on, and how traffic is shared out."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from rich.console import Console

from orchestrator.embedded.triton import EmbeddedTriton
from tests.performance.bench import Bench
from tests.performance.side_by_side import (
    MORE_PAIRS,
    PAIRS,
    Arena,
    AtWork,
    Comparison,
    Load,
    Measured,
    Pair,
)
from tests.performance.throughput import Throughput
from tests.performance.traffic import Arrivals, LoadEnded, ToolEnded, Traffic


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


def test_a_pair_in_which_triton_refused_is_void_and_what_it_refused_is_shown() -> None:
    stalled = replace(measured(90), throughput=Throughput(90, 2.0, 7))
    assert Pair(stalled, measured(100)).void
    assert Pair(measured(100), stalled).void
    found = Comparison(
        "what", (Pair(stalled, measured(100)), Pair(measured(99), measured(100))), 0.95
    )
    assert found.ratio()[0] == pytest.approx(0.99)
    assert found.row()[-1] == "7 / 0"


def test_with_fewer_than_five_pairs_that_count_there_is_no_verdict() -> None:
    assert comparison(*[1.0] * 4).figure().held is None
    figure = comparison(*[1.0] * 5, batch=4.0).figure()
    assert (figure.bar, figure.held) == ("", None)
    assert "5 void" in figure.spread


def test_every_figure_is_of_the_pairs_that_count() -> None:
    counting, void = Pair(measured(90), measured(100)), Pair(measured(70), measured(50, batch=4.0))
    found = Comparison("what", (counting, void), 0.95)
    assert found.ratio()[0] == pytest.approx(0.9)
    assert found.mean(lambda m: m.throughput.per_s, ours=True) == 90


def test_the_pipelines_batches_are_its_own_doing() -> None:
    figure = comparison(*[1.0] * 5, batch=4.0, own_batches=True).figure()
    assert figure.held is True
    assert "batches differ in 5" in figure.spread


def test_a_load_that_tells_no_latency_has_none_in_the_table() -> None:
    pair = Pair(measured(100, p99_ms=math.nan), measured(100))
    assert "– / 10.00" in Comparison("what", (pair,), None).row()  # noqa: RUF001


def test_traffic_is_shared_out_whole() -> None:
    assert [t.concurrency for t in Traffic(concurrency=7, processes=3).shares()] == [3, 2, 2]
    assert len(Traffic(concurrency=1, processes=2).shares()) == 1


@pytest.mark.parametrize("given", [{}, {"concurrency": 1, "rate": 1}])
def test_traffic_is_closed_or_open(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not both"):
        Traffic(**given)  # type: ignore[arg-type]  # what is wrong on purpose


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("begun_us", [0, 1, 999_999, 1_234_567, 2_999_999])
def test_as_many_are_due_in_any_period_of_an_open_loop(arrivals: Arrivals, begun_us: int) -> None:
    gaps_us = Traffic(rate=111, arrivals=arrivals, period_s=3, draw=7).gaps_us()
    due_us = list(accumulate(gaps_us * 3))
    assert sum(begun_us < each <= begun_us + 3_000_000 for each in due_us) == 333


def test_constant_arrivals_are_evenly_apart() -> None:
    gaps_us = Traffic(rate=3).gaps_us()
    assert sum(gaps_us) == 1_000_000
    assert set(gaps_us) <= {333_333, 333_334}


def test_poisson_arrivals_are_as_often_close_as_chance_has_them() -> None:
    gaps_us = Traffic(rate=1000, arrivals="poisson", period_s=10).gaps_us()
    for limit_us in (200, 1000, 3000):
        expected = 1 - math.exp(-limit_us / 1000)
        assert np.mean(np.array(gaps_us) < limit_us) == pytest.approx(expected, abs=0.02)


def test_both_of_a_pair_draw_the_same_and_the_next_pair_another() -> None:
    traffic = Traffic(rate=50, arrivals="poisson")
    assert replace(traffic, draw=1).gaps_us() == replace(traffic, draw=1).gaps_us()
    assert replace(traffic, draw=1).gaps_us() != replace(traffic, draw=2).gaps_us()


def test_an_open_loop_tells_how_much_of_what_was_due_was_answered() -> None:
    pair = Pair(measured(99.0), measured(110.0), due_per_s=110.0)
    assert pair.ratio == pytest.approx(0.9)
    assert "90.00 / 100" in Comparison("what", (pair,), 0.95).row()


@pytest.mark.parametrize(("answered", "void"), [(110, False), (108, False), (107, True)])
def test_a_pair_is_void_where_perf_analyzer_did_not_keep_up(answered: int, void: bool) -> None:
    assert Pair(measured(110), measured(answered), due_per_s=110).void is void


def test_other_batches_void_no_pair_of_an_open_loop() -> None:
    assert not Pair(measured(110, batch=1.2), measured(110, batch=1.5), due_per_s=110).void


def ours(_number: int) -> AbstractContextManager[AtWork]:
    return nullcontext(AtWork((), list))


def theirs(_number: int) -> AbstractContextManager[AtWork]:
    return nullcontext(AtWork((), list))


@dataclass(frozen=True, slots=True)
class Rehearsal(Arena):
    """Measures nothing; `failures` are raised, one each, before anything succeeds."""

    failures: tuple[LoadEnded, ...] = ()
    tries: list[int] = field(default_factory=list)

    async def measure(self, first: Load, second: Load, number: int) -> tuple[Measured, Measured]:
        self.tries.append(number)
        if len(self.tries) <= len(self.failures):
            raise self.failures[len(self.tries) - 1]
        found: dict[Load, Measured] = {ours: measured(90), theirs: measured(100)}
        return found[first], found[second]


def rehearsal(*failures: LoadEnded) -> Rehearsal:
    bench = Bench(quick=False, folder=Path(), console=Console(quiet=True))
    return Rehearsal(bench, cast(EmbeddedTriton, None), "model", failures=failures)


async def test_whichever_was_first_a_ratio_is_ours_over_theirs() -> None:
    found = await rehearsal().compare("what", ours, theirs, 0.95)
    assert {pair.ratio for pair in found.pairs} == {0.9}


async def test_a_pair_that_perf_analyzer_gave_up_is_repeated_and_told() -> None:
    found = await rehearsal(ToolEnded("refused"), ToolEnded("refused")).compare(
        "what", ours, theirs, 0.95
    )
    assert len(found.pairs) == PAIRS
    assert "perf_analyzer gave up in 2 more" in found.figure().spread


async def test_one_that_always_gives_up_is_a_failure() -> None:
    with pytest.raises(ToolEnded):
        await rehearsal(*[ToolEnded("refused")] * (MORE_PAIRS + 1)).compare(
            "what", ours, theirs, 0.95
        )


async def test_our_own_load_may_not_give_up() -> None:
    with pytest.raises(LoadEnded, match="ours"):
        await rehearsal(LoadEnded("ours")).compare("what", ours, theirs, 0.95)

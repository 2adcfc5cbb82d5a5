"""Turns: no more requests at once than are answered soon, each until Triton is done with it; and nothing in vain."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from orchestrator.errors import InferenceStale
from orchestrator.inference.turns import FIRST, Turn, Turns

HAD_S = 1.0
SOON_AFTER_S, LATE_AFTER_S = 0.1, 0.7


class Bench:
    """Turns that tell the time of a clock of their own."""

    def __init__(self, most: int) -> None:
        self.now_s = 100.0
        self.limit = Gauge("limit", "", registry=None)
        self.turns = Turns(most, self.limit, lambda: self.now_s)

    async def take(self, model: str = "m", within_s: float = HAD_S) -> Turn:
        return await self.turns.take(model, self.now_s + within_s)

    async def waiting(self) -> "asyncio.Task[Turn]":
        task = asyncio.get_running_loop().create_task(self.take())
        await asyncio.sleep(0)
        assert not task.done()
        return task

    async def answered(self, *after_s: float) -> None:
        for took_s in after_s:
            # Each of a model of its own: what one took says nothing about whether the next is in vain.
            turn = await self.take(f"model {self.now_s}")
            self.now_s += took_s
            turn.answered()
            turn.leave()

    @property
    def allowed(self) -> float:
        (told,) = next(iter(self.limit.collect())).samples
        return told.value


async def bench_of(most: int) -> Bench:
    """With as many turns as there may be."""
    bench = Bench(most)
    await bench.answered(*[SOON_AFTER_S] * most)
    assert bench.allowed == most
    return bench


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_whoever_comes_first_is_first_served() -> None:
    bench = Bench(2)
    first, second = await bench.take(), await bench.take()
    third, fourth = await bench.waiting(), await bench.waiting()
    first.leave()
    await settle()
    assert (third.done(), fourth.done()) == (True, False)
    second.leave()
    await settle()
    assert fourth.done()


async def test_a_turn_lasts_as_long_as_its_call() -> None:
    bench = Bench(1)
    turn = await bench.take()
    turn.stay()
    turn.leave()
    waiting = await bench.waiting()
    turn.end()
    turn.end()  # after half a minute, and then an answer comes nevertheless
    await settle()
    assert waiting.done()
    await bench.waiting()


async def test_without_a_turn_in_time_there_is_none() -> None:
    bench = Bench(1)
    await bench.take()
    with pytest.raises(TimeoutError):
        await bench.take(within_s=0.01)


async def test_a_turn_that_comes_too_late_goes_to_the_next() -> None:
    bench = Bench(1)
    turn = await bench.take()
    in_vain, other = await bench.waiting(), await bench.waiting()
    bench.now_s += HAD_S - 0.01
    turn.answered()  # after 0.99 s
    turn.leave()
    with pytest.raises(InferenceStale, match="too old"):
        await in_vain
    with pytest.raises(InferenceStale, match="too old"):
        await other
    assert (await bench.take("another model")).model == "another model"


@pytest.mark.parametrize("granted", [False, True])
async def test_whoever_leaves_while_waiting_leaves_the_turn_to_the_next(granted: bool) -> None:
    bench = Bench(1)
    turn = await bench.take()
    leaving, other = await bench.waiting(), await bench.waiting()
    if granted:
        turn.leave()
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    if not granted:
        turn.leave()
        await settle()
    assert other.done()


async def test_late_answers_leave_fewer_turns_and_soon_ones_give_them_back() -> None:
    bench = await bench_of(16)
    await bench.answered(LATE_AFTER_S)
    assert bench.allowed == 12
    await bench.answered(*[SOON_AFTER_S] * 13)
    assert bench.allowed == 13
    await bench.answered(*[SOON_AFTER_S] * 100)
    assert bench.allowed == 16


async def test_it_begins_with_few_and_each_soon_answer_gives_one_more_until_one_is_late() -> None:
    bench = Bench(16)
    assert bench.allowed == FIRST
    await bench.answered(*[SOON_AFTER_S] * 6)
    assert bench.allowed == FIRST + 6
    await bench.answered(LATE_AFTER_S, *[SOON_AFTER_S] * 6)
    assert bench.allowed == 8  # of 7.5, six times a seventh or an eighth more


async def test_those_that_were_on_their_way_together_count_once() -> None:
    bench = await bench_of(16)
    together = [await bench.take() for _ in range(8)]
    bench.now_s += LATE_AFTER_S
    for turn in together:
        turn.answered()
        turn.leave()
    assert bench.allowed == 12


async def test_a_quick_answer_is_soon_however_little_time_there_was() -> None:
    bench = await bench_of(16)
    turn = await bench.take(within_s=0.1)
    bench.now_s += 0.09
    turn.answered()
    assert bench.allowed == 16


async def test_a_refusal_leaves_fewer_turns_too() -> None:
    bench = await bench_of(16)
    turn = await bench.take()
    turn.refused()
    assert bench.allowed == 12


async def test_one_is_always_left() -> None:
    bench = Bench(3)
    await bench.answered(*[LATE_AFTER_S] * 20)
    assert bench.allowed == 1
    waiting = await bench.take()
    waiting.leave()


async def test_a_turn_more_is_given_at_once_to_who_waits() -> None:
    bench = Bench(2)
    await bench.answered(LATE_AFTER_S)
    assert bench.allowed == 1
    first = await bench.take()
    waiting = await bench.waiting()
    for _ in range(2):
        bench.now_s += SOON_AFTER_S
        first.answered()
    await settle()
    assert bench.allowed == 2
    assert waiting.done()


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 1)), max_size=60),
    st.integers(1, 5),
)
def test_no_turn_is_ever_lost_or_given_twice(
    steps: list[tuple[bool, bool, float]], most: int
) -> None:
    asyncio.run(_walked(steps, most))


async def _walked(steps: list[tuple[bool, bool, float]], most: int) -> None:
    """Some come, some leave while they wait, and those with a turn are answered soon or late."""
    bench = Bench(most)
    tasks: list[asyncio.Task[Turn]] = []
    for comes, cancels, took_s in steps:
        if comes or not tasks:
            within_s = 1e9 if comes else 0.0
            taking = bench.turns.take(f"{len(tasks)}", bench.now_s + within_s)
            tasks.append(asyncio.get_running_loop().create_task(taking))
        else:
            task = tasks.pop(0)
            if cancels and not task.done():
                task.cancel()
            elif task.done() and task.exception() is None:
                bench.now_s += took_s
                task.result().answered()
                task.result().leave()
        await settle()
        held = [t for t in tasks if t.done() and not t.cancelled() and t.exception() is None]
        assert len(held) <= most
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, TimeoutError, InferenceStale):
            (await task).leave()
    await bench.answered(*[0.0] * (most * most + 1))
    everything = [await bench.take(f"last {n}") for n in range(most)]
    assert len(everything) == most

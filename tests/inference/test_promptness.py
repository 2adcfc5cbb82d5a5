"""Promptness: what cannot be answered in time any more is not asked, and that is found out anew all the time."""

import pytest

from orchestrator.inference.promptness import FORGOTTEN_AFTER_S, Promptness


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answer(promptness: Promptness, clock: Clock, took_s: float, model: str = "m") -> None:
    sent_s = clock.now_s
    clock.now_s += took_s
    promptness.answered(model, sent_s)


def test_before_the_first_answer_nothing_is_hopeless(clock: Clock) -> None:
    assert not Promptness(clock).hopeless("m", 0.001)


def test_less_time_than_an_answer_takes_is_hopeless(clock: Clock) -> None:
    promptness = Promptness(clock)
    answer(promptness, clock, 0.2)
    assert promptness.hopeless("m", 0.1)
    assert not promptness.hopeless("m", 0.3)


def test_each_model_takes_its_own_time(clock: Clock) -> None:
    promptness = Promptness(clock)
    answer(promptness, clock, 0.2, "slow")
    answer(promptness, clock, 0.01, "quick")
    assert promptness.hopeless("slow", 0.1)
    assert not promptness.hopeless("quick", 0.1)


def test_one_slow_answer_is_not_the_rule(clock: Clock) -> None:
    promptness = Promptness(clock)
    for _ in range(10):
        answer(promptness, clock, 0.02)
    answer(promptness, clock, 0.4)
    assert not promptness.hopeless("m", 0.2)


def test_an_estimate_is_forgotten_so_that_a_server_that_recovered_is_found_out(
    clock: Clock,
) -> None:
    promptness = Promptness(clock)
    answer(promptness, clock, 0.4)
    clock.now_s += FORGOTTEN_AFTER_S + 0.1
    assert not promptness.hopeless("m", 0.1)
    answer(promptness, clock, 0.02)
    assert not promptness.hopeless("m", 0.1)

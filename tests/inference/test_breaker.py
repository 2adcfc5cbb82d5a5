"""The breaker opens after failures in a row, lets one request through at a time, and closes on success."""

import pytest

from orchestrator.errors import InferenceUnavailable
from orchestrator.inference.breaker import Breaker


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.changes: list[bool] = []
        self.breaker = Breaker(3, 1.0, on_change=self.changes.append, clock=lambda: self.now_s)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.failed()

    def time_out(self, times: int) -> None:
        for _ in range(times):
            self.breaker.unanswered()


def test_it_stays_closed_while_a_success_comes_in_between() -> None:
    bench = Bench()
    bench.fail(2)
    bench.breaker.succeeded()
    bench.fail(2)
    bench.breaker.admit()
    assert bench.changes == []


def test_it_holds_requests_back_once_open() -> None:
    bench = Bench()
    bench.fail(3)
    with pytest.raises(InferenceUnavailable, match="held back"):
        bench.breaker.admit()
    assert bench.changes == [True]


def test_requests_that_get_no_answer_in_time_do_not_open_it_while_others_get_theirs() -> None:
    bench = Bench()
    bench.breaker.succeeded()
    bench.now_s = 1.9
    bench.time_out(100)
    bench.breaker.admit()
    assert bench.changes == []


def test_they_do_once_nobody_was_answered_for_two_seconds() -> None:
    bench = Bench()
    bench.breaker.succeeded()
    bench.time_out(2)
    bench.now_s = 2.0
    bench.time_out(1)
    with pytest.raises(InferenceUnavailable):
        bench.breaker.admit()


def test_they_do_at_once_where_nobody_ever_was() -> None:
    bench = Bench()
    bench.time_out(3)
    with pytest.raises(InferenceUnavailable):
        bench.breaker.admit()


def test_a_late_time_out_does_not_close_it() -> None:
    bench = Bench()
    bench.breaker.succeeded()
    bench.fail(3)
    bench.time_out(1)
    assert bench.breaker.is_open


def test_one_request_is_let_through_after_a_while_and_only_one() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now_s = 1.0
    bench.breaker.admit()
    with pytest.raises(InferenceUnavailable):
        bench.breaker.admit()


def test_the_success_of_that_one_closes_it() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now_s = 1.0
    bench.breaker.admit()
    bench.breaker.succeeded()
    bench.breaker.admit()
    assert bench.changes == [True, False]

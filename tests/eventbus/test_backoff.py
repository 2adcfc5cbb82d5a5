"""Backoff: longer each time, capped, and different for two processes."""

import random

from hypothesis import given
from hypothesis import strategies as st

from eventbus.backoff import Backoff


@given(st.integers(0, 100_000), st.integers())
def test_a_delay_is_positive_and_never_above_the_cap(attempt: int, seed: int) -> None:
    delay_s = Backoff(base_s=0.1, cap_s=5.0).delay_s(attempt, random.Random(seed))
    assert 0.05 <= delay_s <= 5.0


def test_two_processes_do_not_come_back_together() -> None:
    delays = {Backoff().delay_s(10, random.Random(seed)) for seed in range(50)}
    assert len(delays) == 50


def test_delays_grow() -> None:
    backoff = Backoff(base_s=0.1, cap_s=5.0)
    assert backoff.delay_s(3, random.Random(1)) > backoff.delay_s(0, random.Random(1))

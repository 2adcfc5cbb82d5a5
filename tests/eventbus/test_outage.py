"""A bus that is away is told in the log at once, then seldom with how often it was tried, and when it is back."""

import pytest

from eventbus.outage import REMIND_S, Outage

AWAY = "no answer from 127.0.0.1:6379"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def away(outage: Outage, clock: Clock, seconds: int) -> None:
    """Tried once a second."""
    for _ in range(seconds):
        outage.failed(AWAY, 7)
        clock.now_s += 1


def test_of_an_outage_the_first_failure_is_told_then_one_a_minute_with_the_count_and_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(clock)
    away(outage, clock, int(2 * REMIND_S) + 1)
    outage.over(3)
    assert caplog.messages == [
        f"{AWAY}; 7 events wait, and are tried again until they are taken",
        f"{AWAY}; for 60 s, after 61 tries; 7 events wait",
        f"{AWAY}; for 120 s, after 121 tries; 7 events wait",
        "the bus takes events again, after 121 s and 121 tries; 3 wait",
    ]


def test_a_bus_that_was_never_away_is_not_spoken_of(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(clock)
    outage.over(0)
    assert caplog.messages == []


def test_the_next_outage_is_told_at_once_and_counts_anew(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(clock)
    for _ in range(2):
        away(outage, clock, 5)
        outage.over(0)
    assert caplog.messages[2:] == caplog.messages[:2]
    assert "after 5 s and 5 tries" in caplog.messages[3]

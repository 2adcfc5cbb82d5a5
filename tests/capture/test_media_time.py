"""The media clock and the sampler: even spacing, and time that never goes back."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.capture.media_time import MAX_STEP_S, MediaTime, Sampler

STEP_S = 0.04


def play(
    stamps: Sequence[float | None], *, live: bool, received: list[float] | None = None
) -> list[float]:
    time = MediaTime()
    time.begin(live=live, trusted=True)
    arrivals = received or [index * STEP_S for index in range(len(stamps))]
    return [time.advance(stamp, at) for stamp, at in zip(stamps, arrivals, strict=True)]


def chosen(source_fps: float, wanted_fps: float, pictures: int) -> list[int]:
    sampler, step_s = Sampler(wanted_fps), 1 / source_fps
    return [n for n in range(pictures) if sampler.wants(n * step_s, step_s, n * step_s)]


def test_stamps_are_counted_from_the_first_picture() -> None:
    assert play([100.0, 100.04, 100.1], live=True) == pytest.approx([0.0, 0.04, 0.1])


@pytest.mark.parametrize("jump", [-5.0, 3600.0, -95443.7, math.inf, math.nan])
def test_a_jump_in_a_live_stream_is_replaced_by_the_time_that_passed(jump: float) -> None:
    times = play([0.0, 0.04, 0.04 + jump, 0.08 + jump], live=True)
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize("jump", [-5.0, 3600.0])
def test_a_jump_in_a_file_is_replaced_by_the_usual_step_whenever_it_is_read(jump: float) -> None:
    stamps = [0.0, 0.04, 0.04 + jump, 0.08 + jump]
    slow = play(stamps, live=False, received=[0.0, 10.0, 20.0, 30.0])
    fast = play(stamps, live=False, received=[0.0, 0.0, 0.0, 0.0])
    assert slow == fast == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_missing_stamps_are_replaced_by_the_time_of_arrival() -> None:
    assert play([None, None, 7.0, 7.04], live=True) == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_time_goes_on_across_a_reconnect_by_as_much_as_passed() -> None:
    time = MediaTime()
    time.begin(live=True, trusted=True)
    time.advance(50.0, 1000.0)
    time.advance(50.04, 1000.04)
    time.begin(live=True, trusted=True)
    assert time.advance(3.0, 1030.04) == pytest.approx(30.04)


def test_a_looped_file_goes_on_after_its_usual_step() -> None:
    time = MediaTime()
    for _ in range(2):
        time.begin(live=False, trusted=True)
        last = [time.advance(stamp, 0.0) for stamp in (0.0, 0.04, 0.08)]
    assert last == pytest.approx([0.12, 0.16, 0.2])


def test_a_live_stream_whose_stamps_lie_is_timed_by_arrival_after_a_few_seconds() -> None:
    """It says 1000 pictures a second and sends 25."""
    count = 500
    times = play([n * 0.001 for n in range(count)], live=True)
    assert times[-1] - times[-26] == pytest.approx(1.0)
    assert times[-1] > (count - 1) * STEP_S - 4.0


def test_a_decoder_that_is_seconds_behind_keeps_the_streams_own_times_until_it_has_caught_up() -> (
    None
):
    """It decodes 20 of 25 pictures a second, and finds the next one there each time; then it has less to do."""
    count, slow_s = 500, 0.05
    received = [n * slow_s for n in range(count)]
    time = MediaTime()
    time.begin(live=True, trusted=True)
    times = [time.advance(n * STEP_S, at, waited=False) for n, at in enumerate(received)]
    assert received[-1] - times[-1] > 3.0
    assert times == pytest.approx([n * STEP_S for n in range(count)])


def test_one_that_stood_still_and_waits_again_at_once_has_not_lost_the_times_it_can_catch_up_with() -> (
    None
):
    stood_s = 8.0
    received = [n * STEP_S for n in range(50)] + [2.0 + stood_s + n * 0.004 for n in range(250)]
    time = MediaTime()
    time.begin(live=True, trusted=True)
    times = [time.advance(n * STEP_S, at, waited=n <= 50) for n, at in enumerate(received)]
    assert times == pytest.approx([n * STEP_S for n in range(300)])


def test_a_burst_at_the_start_keeps_the_streams_own_times() -> None:
    """A server may send the last second at once."""
    received = [0.0] * 25 + [n * STEP_S for n in range(25)]
    times = play([n * STEP_S for n in range(50)], live=True, received=received)
    assert times == pytest.approx([n * STEP_S for n in range(50)])


@given(
    st.lists(
        st.tuples(st.none() | st.floats(allow_nan=True, allow_infinity=True), st.floats(0.0, 10.0)),
        max_size=60,
    ),
    st.booleans(),
)
def test_time_never_goes_back_and_never_jumps(
    pictures: list[tuple[float | None, float]], live: bool
) -> None:
    arrivals, now = [], 0.0
    for _, wait in pictures:
        now += wait
        arrivals.append(now)
    times = play([stamp for stamp, _ in pictures], live=live, received=arrivals)
    longest = max([MAX_STEP_S] + [wait for _, wait in pictures])
    assert all(0.0 <= b - a <= longest + 1e-6 for a, b in pairwise(times))


def test_30_to_5_takes_every_sixth_picture() -> None:
    assert chosen(30, 5, 30) == [0, 6, 12, 18, 24]


def test_25_to_5_takes_every_fifth_picture() -> None:
    assert chosen(25, 5, 25) == [0, 5, 10, 15, 20]


@pytest.mark.parametrize(("source", "wanted"), [(25, 25), (25, 30), (12.5, 15), (29.97, 29.97)])
def test_a_rate_that_is_not_below_the_sources_takes_every_picture(
    source: float, wanted: float
) -> None:
    assert chosen(source, wanted, 100) == list(range(100))


@given(st.floats(5, 120), st.floats(0.5, 60))
def test_the_wanted_rate_is_met_and_the_pictures_are_evenly_spaced(
    source: float, wanted: float
) -> None:
    seconds = 20
    taken = chosen(source, wanted, int(source * seconds))
    assert len(taken) == pytest.approx(min(source, wanted) * seconds, abs=2)
    steps = [b - a for a, b in pairwise(taken)]
    assert not steps or max(steps) - min(steps) <= 1


@given(
    turn=st.floats(0.0, 1.0, exclude_max=True),
    started_s=st.floats(0.0, 1e6),
)
def test_a_stream_with_a_turn_is_looked_at_when_it_is_its_turn(
    turn: float, started_s: float
) -> None:
    sampler = Sampler(5.0, turn)
    taken = [n for n in range(50) if sampler.wants(n * STEP_S, STEP_S, started_s + n * STEP_S)]
    assert taken[0] == 0
    assert 2 <= taken[1] <= 8
    # A due time just as far from two pictures may fall to either, by rounding.
    assert {b - a for a, b in pairwise(taken[1:])} <= {4, 5, 6}
    assert abs(taken[-1] - taken[1] - 5 * (len(taken) - 2)) <= 1
    late_s = (started_s + taken[1] * STEP_S - turn * 0.2) % 0.2
    assert min(late_s, 0.2 - late_s) <= STEP_S


def test_after_a_gap_it_does_not_make_up_for_what_was_missed() -> None:
    sampler = Sampler(5)
    assert sampler.wants(0.0, STEP_S, 0.0)
    taken = [n for n in range(25) if sampler.wants(60.0 + n * STEP_S, STEP_S, 60.0)]
    assert taken == [0, 5, 10, 15, 20]

"""How far behind its camera a decoder is."""

import pytest

from orchestrator.capture.lag import WINDOW_S, Lag, Relief


def lags(ways_s: list[float], step_s: float = 0.04) -> list[float]:
    """Of pictures that take so long from the camera to their decoding."""
    lag = Lag()
    return [lag.of(n * step_s, 1000.0 + n * step_s + way_s) for n, way_s in enumerate(ways_s)]


def test_a_decoder_that_keeps_up_has_no_lag_however_long_the_way() -> None:
    assert lags([5.0] * 10) == pytest.approx([0.0] * 10)


def test_pictures_that_wait_are_behind_by_as_long() -> None:
    assert lags([0.1, 0.1, 0.3, 0.6, 0.1]) == pytest.approx([0.0, 0.0, 0.2, 0.5, 0.0])


def test_a_lag_that_grows_for_seconds_is_seen_whole() -> None:
    pictures = round(WINDOW_S / 2 / 0.04)
    growing = [n * 0.01 for n in range(pictures)]
    assert lags(growing)[-1] == pytest.approx(growing[-1])


def test_a_way_that_became_longer_for_good_is_the_usual_one_after_a_minute() -> None:
    """A camera's clock wanders, a network is changed: only what a decoder can catch up with is a lag."""
    pictures = round(2 * WINDOW_S / 0.04) + 2
    found = lags([0.1] * 5 + [0.4] * pictures)
    assert found[10] == pytest.approx(0.3)
    assert found[-1] == pytest.approx(0.0)


def test_a_decoder_that_never_waits_for_a_picture_is_behind_for_as_long_as_that_lasts() -> None:
    lag = Lag()
    assert lag.of(0.0, 1000.0) == 0.0
    pictures = round(3 * WINDOW_S / 0.04)
    found = [lag.of(n * 0.04, 1002.0 + n * 0.04, waited=False) for n in range(1, pictures)]
    assert found == pytest.approx([2.0] * len(found))


def inspected(lags_s: list[float], step_s: float = 0.2) -> list[int]:
    """Which frames that are due are not left out."""
    relief = Relief()
    return [
        n for n, lag_s in enumerate(lags_s) if not relief.leaves_out(lag_s, 1000.0 + n * step_s)
    ]


def test_a_stream_that_stays_behind_is_inspected_half_as_often_until_it_has_caught_up() -> None:
    behind = [0.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.0, 0.0]
    assert inspected(behind) == [0, 1, 2, 3, 5, 7, 8, 9]


def test_one_that_is_behind_for_a_moment_catches_up_by_itself() -> None:
    moment = [0.4, 0.4, 0.4]
    assert inspected([*moment, 0.1, *moment, 0.0]) == list(range(8))


def test_how_soon_does_not_depend_on_how_often_it_is_inspected() -> None:
    assert inspected([0.4] * 20, step_s=0.04)[:14] == [*range(13), 14]
    assert inspected([0.4] * 4, step_s=1.0) == [0, 2]

"""What a swap is said to cost: every frame that was due and not looked at, and what failed that would not have."""

import pytest

from tests.performance.outcome import Figure
from tests.performance.swap import State, Window, outcome_of


def window(busy: int = 0, error: int = 0) -> Window:
    def state(inspected: int, busy: int, error: int) -> State:
        failed = {"stale": 0, "unavailable": error, "invalid": 0, "outdated": 0}
        return State({"gate": inspected}, {"busy": busy, "stale": 0, "error": error}, failed)

    return Window(state(10, 1, 0), state(110, 1 + busy, error), {"gate": 0.3})


def figures(quiet: Window, swap: Window) -> tuple[Figure, ...]:
    return outcome_of([quiet], [swap], [3.0]).figures


def test_frames_of_a_camera_that_was_busy_are_lost_too() -> None:
    lost, *_ = figures(window(busy=1), window(busy=20, error=5))
    assert lost.value == 25
    assert "of 125 due" in lost.spread
    assert "without one 1 to 1" in lost.spread


@pytest.mark.parametrize(("usual", "error", "held"), [(0, 0, True), (0, 2, False), (3, 2, None)])
def test_what_fails_without_a_swap_too_is_no_verdict_on_it(
    usual: int, error: int, held: bool | None
) -> None:
    _, refused, *_ = figures(window(error=usual), window(error=error))
    assert (refused.value, refused.held) == (error, held)

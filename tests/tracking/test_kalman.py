"""The box filter is a Kalman filter: four small ones side by side give what one large matrix gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.tracking import kalman
from orchestrator.tracking.kalman import BoxFilter, centred, cornered

Floats = NDArray[np.float64]
FIRST = np.array([[300.0, 200.0, 80.0, 200.0]])
ROW = np.array([0])
SEEN = np.array([False])

steps = st.lists(
    st.tuples(st.floats(0.01, 1.0), st.tuples(*[st.floats(-15, 15)] * 4)), min_size=1, max_size=8
)


def textbook(measurements: list[tuple[float, Floats]]) -> tuple[Floats, Floats]:
    """Welch and Bishop, An Introduction to the Kalman Filter, eqs. 1.9 to 1.13, on the whole 8 x 8 state."""
    height = FIRST[0, 3]
    state = np.concatenate((FIRST[0], np.zeros(4)))
    covariance = np.diag(
        np.concatenate(((height * kalman._MEASURED) ** 2, (height * kalman._BORN_SPEED) ** 2))
    )
    see = np.eye(4, 8)
    for dt, box in measurements:
        move = np.eye(8) + np.eye(8, k=4) * dt
        state = move @ state
        wander = np.diag((state[3] * kalman._WANDER) ** 2)
        noise = np.block(
            [[wander * dt**3 / 3, wander * dt**2 / 2], [wander * dt**2 / 2, wander * dt]]
        )
        covariance = move @ covariance @ move.T + noise
        error = np.diag((box[3] * kalman._MEASURED) ** 2)
        gain = covariance @ see.T @ np.linalg.inv(see @ covariance @ see.T + error)
        state = state + gain @ (box - see @ state)
        covariance = (np.eye(8) - gain @ see) @ covariance
    return state, covariance


@given(steps)
def test_it_agrees_with_the_textbook(path: list[tuple[float, tuple[float, ...]]]) -> None:
    measurements = [(dt, FIRST[0] + np.array(off)) for dt, off in path]
    boxes = BoxFilter.born(FIRST)
    for dt, box in measurements:
        boxes.predict(dt, SEEN)
        boxes.correct(ROW, box[np.newaxis])
    state, covariance = textbook(measurements)
    assert np.concatenate((boxes.position[0], boxes.velocity[0])) == pytest.approx(state)
    assert boxes.pp[0] == pytest.approx(np.diag(covariance)[:4])
    assert boxes.pv[0] == pytest.approx(np.diag(covariance, k=4))
    assert boxes.vv[0] == pytest.approx(np.diag(covariance)[4:])


@pytest.mark.parametrize("fps", [2, 5, 30])
def test_it_learns_a_speed_in_pixels_a_second_whatever_the_rate(fps: int) -> None:
    boxes = BoxFilter.born(FIRST)
    for step in range(1, 4 * fps):
        boxes.predict(1 / fps, SEEN)
        boxes.correct(ROW, FIRST + np.array([[150.0 * step / fps, 0, 0, 0]]))
    assert boxes.velocity[0] == pytest.approx([150, 0, 0, 0], abs=2)


def test_the_longer_nobody_looked_the_wider_the_guess() -> None:
    short, long = BoxFilter.born(FIRST), BoxFilter.born(FIRST)
    short.predict(0.1, SEEN)
    long.predict(0.5, SEEN)
    assert (long.spread > short.spread).all()


def test_a_lost_box_slows_down_and_keeps_its_size() -> None:
    boxes = BoxFilter.born(FIRST)
    boxes.velocity[:] = [[100.0, 0.0, -50.0, -50.0]]
    for _ in range(50):
        boxes.predict(0.2, np.array([True]))
    assert boxes.position[0, 2:].tolist() == [80.0, 200.0]
    assert boxes.position[0, 0] < FIRST[0, 0] + 100
    assert abs(boxes.velocity[0, 0]) < 0.1


def test_a_shrinking_box_never_turns_inside_out() -> None:
    boxes = BoxFilter.born(FIRST)
    boxes.velocity[:] = [[0.0, 0.0, -500.0, -500.0]]
    boxes.predict(1.0, SEEN)
    assert boxes.position[0, 2:].tolist() == [1.0, 1.0]


def test_only_the_rows_that_were_measured_change() -> None:
    boxes = BoxFilter.born(np.repeat(FIRST, 3, axis=0))
    boxes.correct(np.array([1]), FIRST + 10)
    assert boxes.position[[0, 2]].tolist() == FIRST.repeat(2, axis=0).tolist()
    assert (boxes.position[1] > FIRST[0]).all()


def test_corners_become_centre_and_size_and_back() -> None:
    corners = np.array([[10, 20, 50, 120]], np.float32)
    assert centred(corners).tolist() == [[30, 70, 40, 100]]
    assert cornered(centred(corners)).tolist() == corners.tolist()

"""After an alert its rule is silent about the same person and camera for a while."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerting.cooldown import Cooldown

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANN = ("unauthorized", "lobby", "ann")


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_the_same_is_let_through_again_when_the_time_has_run_out() -> None:
    cooldown = Cooldown(MINUTE)
    assert [cooldown.admit(ANN, after(s)) for s in (0, 59.9, 60, 61)] == [True, False, True, False]


def test_what_is_held_back_does_not_lengthen_the_silence() -> None:
    cooldown = Cooldown(MINUTE)
    assert [cooldown.admit(ANN, after(s)) for s in (0, 40, 70)] == [True, False, True]


def test_another_person_another_camera_and_another_rule_are_not_silenced() -> None:
    cooldown = Cooldown(MINUTE)
    others = [("stranger", "lobby", "ann"), ("unauthorized", "gate", "ann")]
    others.append(("unauthorized", "lobby", "ben"))
    assert all(cooldown.admit(key, BEGIN) for key in [ANN, *others])


def test_a_length_of_nothing_silences_nobody() -> None:
    cooldown = Cooldown(timedelta(0))
    assert [cooldown.admit(ANN, BEGIN) for _ in range(3)] == [True] * 3


def test_a_clock_set_back_an_hour_silences_nobody_for_an_hour() -> None:
    cooldown = Cooldown(MINUTE)
    cooldown.admit(ANN, after(3600))
    assert cooldown.admit(ANN, after(1))


def test_what_has_run_out_is_forgotten() -> None:
    cooldown = Cooldown(MINUTE)
    for second in range(1000):
        cooldown.admit(("stranger", f"camera-{second}", ""), after(second))
    assert len(cooldown) <= 61
    assert cooldown.forgotten == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-100, 100)), max_size=200))
def test_memory_is_bounded_and_what_is_dropped_early_is_counted(
    sightings: list[tuple[int, int]],
) -> None:
    cooldown = Cooldown(MINUTE, capacity=10)
    admitted = sum(
        cooldown.admit(("stranger", str(camera), ""), after(second)) for camera, second in sightings
    )
    assert len(cooldown) <= 10
    assert cooldown.forgotten <= admitted

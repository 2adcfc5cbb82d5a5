"""How long the keeper of a server waits before it starts it anew."""

from orchestrator.embedded.keeper import Patience


def test_the_first_attempt_is_made_at_once() -> None:
    assert Patience().delay_s(0) == 0.0


def test_the_delay_doubles_up_to_its_cap() -> None:
    patience = Patience(backoff_base_s=0.5, backoff_cap_s=3.0)
    assert [patience.delay_s(failures) for failures in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_night_of_failures_is_no_overflow() -> None:
    assert Patience().delay_s(100_000) == 30.0

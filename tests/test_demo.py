"""The demonstration: its cast is enrolled once for each embedder."""

from orchestrator.demo import CAST, to_be_enrolled
from tests.recognition.redis import enrolled
from tests.recognition.vectors import MODEL

EVERYBODY = [enrolled(role.name, number) for number, role in enumerate(CAST)]


def test_the_first_demo_enrols_everybody() -> None:
    assert to_be_enrolled([], MODEL.sha256) == CAST


def test_a_second_demo_enrols_only_who_is_missing() -> None:
    assert to_be_enrolled(EVERYBODY, MODEL.sha256) == ()
    assert to_be_enrolled(EVERYBODY[1:], MODEL.sha256) == CAST[:1]


def test_under_another_embedder_everybody_is_enrolled_anew() -> None:
    assert to_be_enrolled(EVERYBODY, "another digest") == CAST


def test_where_nothing_says_which_embedder_is_served_a_name_is_enough() -> None:
    assert to_be_enrolled(EVERYBODY, None) == ()

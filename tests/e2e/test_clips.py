"""Who is seen in the sample clips, and when: decoding, detection, tracking, recognition and alerts, all real."""

from pathlib import Path

import pytest

from eventbus.events import AlertEvent, Event, FaceRecognitionEvent, MotionDetectionEvent, decode
from orchestrator.ledger import Skip
from orchestrator.settings import Settings
from tests.e2e.conftest import replayed

pytestmark = pytest.mark.xdist_group("triton")


def events_of(settings: Settings, clip: Path) -> list[Event]:
    return [decode(line) for line in replayed(settings, clip)[0]]


def faces(events: list[Event]) -> list[FaceRecognitionEvent]:
    return [event for event in events if isinstance(event, FaceRecognitionEvent)]


def alerts(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (event.alert_level, event.alert_message)
        for event in events
        if isinstance(event, AlertEvent)
    ]


@pytest.mark.parametrize(
    ("clip", "name"),
    [("face_brother.mkv", "Ada"), ("face_milk.mkv", "Ben"), ("face_learn.mkv", "Cleo")],
)
def test_an_enrolled_person_is_named_in_another_clip_within_a_second(
    settings: Settings, clips: Path, clip: str, name: str
) -> None:
    events = events_of(settings, clips / clip)
    (face,) = faces(events)
    assert face.person_name == name
    first = next(event for event in events if isinstance(event, MotionDetectionEvent))
    assert (face.timestamp - first.timestamp).total_seconds() <= 1.0


@pytest.mark.parametrize("clip", ["face_eat.mkv", "face_night.mkv"])
def test_a_person_who_was_never_enrolled_is_never_named(
    settings: Settings, clips: Path, clip: str
) -> None:
    events = events_of(settings, clips / clip)
    assert [face for face in faces(events) if face.person_name is not None] == []
    assert any(isinstance(event, MotionDetectionEvent) for event in events)


def test_a_stranger_has_one_anonymous_id_and_raises_one_warning(
    settings: Settings, clips: Path
) -> None:
    events = events_of(settings, clips / "face_night.mkv")
    (face,) = faces(events)
    assert face.face_id.startswith("unknown-")
    assert not face.is_authorized
    assert alerts(events) == [("WARNING", "Unknown person at door")]


def test_an_authorised_person_raises_no_alert(settings: Settings, clips: Path) -> None:
    assert alerts(events_of(settings, clips / "face_brother.mkv")) == []


def test_an_enrolled_person_without_authorisation_is_critical(
    settings: Settings, clips: Path
) -> None:
    told = alerts(events_of(settings, clips / "face_learn.mkv"))
    assert told == [("CRITICAL", "Cleo, who is not authorised, at door")]


def test_cars_are_not_people(settings: Settings, clips: Path) -> None:
    lines, coverage = replayed(settings, clips / "car-detection.mp4")
    assert lines == []
    assert coverage.inspected > 20


def test_an_event_carries_what_its_decision_stood_on(settings: Settings, clips: Path) -> None:
    (face,) = faces(events_of(settings, clips / "face_milk.mkv"))
    evidence = face.evidence
    assert evidence is not None
    assert [model.name for model in evidence.models] == ["face_detector", "face_embedder"]
    assert all(len(model.sha256) == 64 for model in evidence.models)
    best = evidence.candidates[0]
    assert best.person_name == "Ben"
    assert best.similarity >= evidence.thresholds["match"]
    assert evidence.gallery_version
    assert evidence.latencies is None


def test_two_replays_give_the_same_bytes(settings: Settings, clips: Path) -> None:
    once, _ = replayed(settings, clips / "face_brother.mkv")
    again, _ = replayed(settings, clips / "face_brother.mkv")
    assert once == again
    assert once


def test_every_frame_of_a_replay_is_accounted_for_and_none_is_lost(
    settings: Settings, clips: Path
) -> None:
    _, coverage = replayed(settings, clips / "face_learn.mkv")
    assert coverage.pending == 0
    lost = [coverage.skipped[cause] for cause in (Skip.BUSY, Skip.STALE, Skip.ERROR)]
    assert lost == [0, 0, 0]

"""Events: what is written is what is read, byte for byte the same each time."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventbus.bus import record_of
from eventbus.events import (
    AlertEvent,
    AlertLevel,
    BoundingBox,
    CandidateEvidence,
    DetectedObject,
    Event,
    Evidence,
    FaceRecognitionEvent,
    ModelEvidence,
    MotionDetectionEvent,
    StageLatencies,
    SystemStatusEvent,
    decode,
    encode,
    event_id,
)
from eventbus.topics import Topics
from tests.eventbus.reports import KINDS, motion

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
camera = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
moment = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)
number = st.floats(allow_nan=False, allow_infinity=False)
unit = st.floats(0.0, 1.0)
count = st.integers(0, 2**53)
box = st.builds(BoundingBox, x1=number, y1=number, x2=number, y2=number)
evidence = st.builds(
    Evidence,
    models=st.lists(st.builds(ModelEvidence, name=text, version=text, sha256=text), max_size=2),
    thresholds=st.dictionaries(text, number, max_size=3),
    gallery_version=st.none() | text,
    candidates=st.lists(
        st.builds(CandidateEvidence, face_id=text, person_name=text, similarity=number), max_size=2
    ),
    faces=st.none() | count,
    frame_width=st.none() | count,
    frame_height=st.none() | count,
    latencies=st.none() | st.builds(StageLatencies, capture_ms=st.none() | number),
)
usual = {
    "event_id": st.uuids(),
    "timestamp": moment,
    "camera_id": camera,
    "evidence": st.none() | evidence,
}
event: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        MotionDetectionEvent,
        frame_number=count,
        detected_objects=st.lists(
            st.builds(DetectedObject, object_class=text, confidence=unit, bbox=box), max_size=3
        ),
        total_objects=count,
        confidence_scores=st.lists(unit, max_size=3),
        **usual,
    ),
    st.builds(
        FaceRecognitionEvent,
        frame_number=count,
        face_id=text,
        person_name=st.none() | text,
        confidence=unit,
        bbox=box,
        is_authorized=st.booleans(),
        track_id=count,
        **usual,
    ),
    st.builds(
        AlertEvent,
        alert_level=st.sampled_from(AlertLevel),
        alert_message=text,
        associated_events=st.lists(st.uuids(), max_size=3),
        rule=text,
        **usual,
    ),
    st.builds(SystemStatusEvent, component=text, status=text, detail=text, **usual),
)


@given(event)
def test_an_event_is_read_as_it_was_written(written: Event) -> None:
    assert decode(encode(written)) == written


@given(event)
def test_the_same_event_is_always_the_same_bytes(written: Event) -> None:
    assert encode(decode(encode(written))) == encode(written)


@given(event)
def test_a_record_carries_the_event_under_its_camera(written: Event) -> None:
    record = record_of(written, Topics())
    assert decode(record.payload) == written
    assert (record.key, record.event_id) == (written.camera_id, str(written.event_id))


@given(camera, moment, text)
def test_an_id_depends_on_nothing_but_what_is_reported(
    camera_id: str, at: datetime, subject: str
) -> None:
    elsewhere = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    first = event_id("motion.detected", camera_id, at, subject)
    assert first == event_id("motion.detected", camera_id, elsewhere, subject)
    assert first != event_id("face.recognized", camera_id, at, subject)
    assert first != event_id("motion.detected", camera_id, at + timedelta(microseconds=1), subject)


def test_an_id_stays_the_same_for_all_versions_of_this_program() -> None:
    at = datetime(2026, 3, 14, 9, 26, 53, 589793, UTC)
    known = UUID("8a68f7f8-c29d-5c1a-ab5f-a1115eadd8a2")
    assert event_id("motion.detected", "entrance", at, "1204") == known


def test_time_is_written_in_utc_with_all_six_digits() -> None:
    written = json.loads(encode(motion("door", 0)))
    assert written["timestamp"] == "2026-01-01T00:00:00.000000Z"


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    later = json.loads(encode(motion("door", 1))) | {"weather": "rain"}
    assert decode(json.dumps(later).encode()) == motion("door", 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_say_is_refused_where_the_event_is_made(value: float) -> None:
    with pytest.raises(ValidationError):
        BoundingBox(x1=value, y1=0.0, x2=1.0, y2=1.0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"event_type":"system.status","detail":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"event_type":"door.opened"}',
        b"9" * 100_000,
    ],
)
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(payload)


@given(st.binary(max_size=300))
def test_no_bytes_whatever_break_the_reader(payload: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(payload)


def test_every_kind_of_event_has_a_topic_of_its_own() -> None:
    topics = Topics()
    assert {topics.of(make("door", 1).event_type) for make in KINDS} == set(topics.all)

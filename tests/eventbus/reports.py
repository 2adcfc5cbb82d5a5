"""Events to send: each camera counts its own."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from eventbus.events import (
    AlertEvent,
    AlertLevel,
    BoundingBox,
    DetectedObject,
    Event,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
    event_id,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BOX = BoundingBox(x1=10.0, y1=20.0, x2=110.0, y2=220.0)
PERSON = DetectedObject(object_class="person", confidence=0.9, bbox=BOX, track_id=1)


def motion(camera_id: str, number: int, moment: datetime | None = None) -> MotionDetectionEvent:
    moment = moment or EPOCH + timedelta(milliseconds=200 * number)
    return MotionDetectionEvent(
        event_id=event_id("motion.detected", camera_id, moment, str(number)),
        timestamp=moment,
        camera_id=camera_id,
        frame_number=number,
        detected_objects=(PERSON,),
        total_objects=1,
        confidence_scores=(0.9,),
    )


def face(camera_id: str, number: int) -> FaceRecognitionEvent:
    moment = EPOCH + timedelta(milliseconds=200 * number)
    return FaceRecognitionEvent(
        event_id=event_id("face.recognized", camera_id, moment, str(number)),
        timestamp=moment,
        camera_id=camera_id,
        frame_number=number,
        face_id=f"face-{number}",
        person_name=None,
        confidence=0.8,
        bbox=BOX,
        is_authorized=False,
        track_id=number,
    )


def status(camera_id: str, number: int, detail: str = "") -> SystemStatusEvent:
    moment = EPOCH + timedelta(milliseconds=200 * number)
    return SystemStatusEvent(
        event_id=event_id("system.status", camera_id, moment, str(number)),
        timestamp=moment,
        camera_id=camera_id,
        component="camera",
        status="online",
        detail=detail,
    )


def alert(camera_id: str, number: int, message: str = "somebody is there") -> AlertEvent:
    moment = EPOCH + timedelta(milliseconds=200 * number)
    return AlertEvent(
        event_id=event_id("alert.triggered", camera_id, moment, str(number)),
        timestamp=moment,
        camera_id=camera_id,
        alert_level=AlertLevel.WARNING,
        alert_message=message,
        associated_events=(),
        rule="stranger",
    )


KINDS: tuple[Callable[[str, int], Event], ...] = (motion, face, status, alert)


def number_of(event: Event) -> int:
    """What the functions above were given."""
    return round((event.timestamp - EPOCH) / timedelta(milliseconds=200))

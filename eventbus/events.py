"""What the outside world is told: four events, published as JSON.

The published schemas are docs/contracts/*.schema.json, generated from these models by `make docs`.
Fields may be added; none is renamed or removed, for programs elsewhere read them.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    WithJsonSchema,
)

# Every event id is a version-5 UUID under this one, so that the same report always has the same id.
EVENT_NAMESPACE = UUID("5f0a4b1e-7d0c-5c8e-9b0a-fe55fe55fe55")


def event_id(event_type: str, camera_id: str, timestamp: datetime, subject: str) -> UUID:
    """The id of a report: a pure function of what it says, so that a repeat can be dropped.

    Args:
        event_type: such as `motion.detected`.
        camera_id: the camera, or `system`.
        timestamp: stream time of the report; microseconds count.
        subject: what the report is about within that instant: a track, a frame, a state.
    """
    instant = timestamp.astimezone(UTC).isoformat(timespec="microseconds")
    return uuid5(EVENT_NAMESPACE, "\x1f".join((event_type, camera_id, instant, subject)))


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]  # RFC 3339, UTC, always six digits of a second
Unit = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Frozen(BaseModel):
    # NaN has no place in JSON: it would be written as null, and could not be read back.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )


class BoundingBox(Frozen):
    """Corners in pixels of the source frame, origin top left."""

    x1: float
    y1: float
    x2: float
    y2: float


class ModelEvidence(Frozen):
    """Which weights answered."""

    name: str
    version: str
    sha256: str


class CandidateEvidence(Frozen):
    face_id: str
    person_name: str
    similarity: float


class StageLatencies(Frozen):
    """Milliseconds from the decoded frame to the end of each stage. Absent in a replay, whose time is the clip's."""

    capture_ms: float | None = None
    detection_ms: float | None = None
    tracking_ms: float | None = None
    recognition_ms: float | None = None


class Evidence(Frozen):
    """What a decision stood on, enough to take it again."""

    models: tuple[ModelEvidence, ...] = ()
    thresholds: dict[str, float] = Field(default_factory=dict)
    gallery_version: str | None = None
    candidates: tuple[CandidateEvidence, ...] = ()
    faces: int | None = Field(
        default=None, description="How many good faces the decision rests on."
    )
    frame_width: int | None = None
    frame_height: int | None = None
    latencies: StageLatencies | None = None


class DetectedObject(Frozen):
    object_class: str
    confidence: Unit
    bbox: BoundingBox
    track_id: int | None = None


class EventCommon(Frozen):
    event_id: UUID = Field(description="The same for every repeat of this report.")
    timestamp: Timestamp = Field(description="When the frame was captured, UTC.")
    camera_id: str = Field(min_length=1, max_length=128, description="Also the key of the event.")
    schema_version: Literal[1] = 1
    evidence: Evidence | None = None


class MotionDetectionEvent(EventCommon):
    """An inspected frame that shows objects."""

    event_type: Literal["motion.detected"] = "motion.detected"
    frame_number: int = Field(ge=0)
    detected_objects: tuple[DetectedObject, ...]
    total_objects: int = Field(ge=0)
    confidence_scores: tuple[Unit, ...]


class FaceRecognitionEvent(EventCommon):
    """A track's identity was decided: one event a track and identity. `person_name` is null for a stranger."""

    event_type: Literal["face.recognized"] = "face.recognized"
    frame_number: int = Field(ge=0)
    face_id: str
    person_name: str | None
    confidence: Unit
    bbox: BoundingBox
    is_authorized: bool
    track_id: int


class AlertLevel(StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class AlertEvent(EventCommon):
    """A rule says that somebody should know."""

    event_type: Literal["alert.triggered"] = "alert.triggered"
    alert_level: AlertLevel
    alert_message: str
    associated_events: tuple[UUID, ...]
    rule: str = Field(description="Name of the rule that fired.")


class SystemStatusEvent(EventCommon):
    """A part of the system changed its state, such as a camera that was lost or is back."""

    event_type: Literal["system.status"] = "system.status"
    component: str = Field(description="What changed: `camera`, so far.")
    status: str = Field(description="online, offline, degraded or ended.")
    detail: str = Field(default="", description="Why, without credentials.")


Event = Annotated[
    MotionDetectionEvent | FaceRecognitionEvent | AlertEvent | SystemStatusEvent,
    Field(discriminator="event_type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def encode(event: Event) -> bytes:
    """One event as UTF-8 JSON; the same event always gives the same bytes."""
    return event.model_dump_json().encode()


def decode(payload: bytes) -> Event:
    """Read an event back. Raises pydantic.ValidationError for anything that is not one.

    Unknown fields are passed over: a later version may write more of them.
    """
    return EVENT.validate_json(payload, extra="ignore")

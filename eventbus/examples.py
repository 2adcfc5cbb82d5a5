"""One event of each kind, as the documentation shows them."""

from datetime import UTC, datetime

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
    event_id,
)

MOMENT = datetime(2026, 3, 14, 9, 26, 53, 589793, UTC)
CAMERA = "entrance"


def examples() -> tuple[Event, ...]:
    face = _face()
    return (_motion(), face, _alert(face), _status())


def _motion() -> MotionDetectionEvent:
    person = DetectedObject(
        object_class="person",
        confidence=0.91,
        bbox=BoundingBox(x1=412.0, y1=188.5, x2=655.0, y2=912.0),
        track_id=7,
    )
    return MotionDetectionEvent(
        event_id=event_id("motion.detected", CAMERA, MOMENT, "1204"),
        timestamp=MOMENT,
        camera_id=CAMERA,
        frame_number=1204,
        detected_objects=(person,),
        total_objects=1,
        confidence_scores=(0.91,),
        evidence=Evidence(
            models=(ModelEvidence(name="object_detector", version="1", sha256="9f86d081" * 8),),
            thresholds={"score": 0.5, "nms": 0.45},
            frame_width=1920,
            frame_height=1080,
            latencies=StageLatencies(capture_ms=2.1, detection_ms=21.4, tracking_ms=21.9),
        ),
    )


def _face() -> FaceRecognitionEvent:
    return FaceRecognitionEvent(
        event_id=event_id("face.recognized", CAMERA, MOMENT, "7"),
        timestamp=MOMENT,
        camera_id=CAMERA,
        frame_number=1204,
        face_id="unknown-entrance-7",
        person_name=None,
        confidence=0.87,
        bbox=BoundingBox(x1=498.0, y1=214.0, x2=574.5, y2=311.0),
        is_authorized=False,
        track_id=7,
        evidence=Evidence(
            models=(ModelEvidence(name="face_embedder", version="1", sha256="60303ae2" * 8),),
            thresholds={"match": 0.42, "margin": 0.05},
            gallery_version="3f2a9c41",
            candidates=(CandidateEvidence(face_id="f-01", person_name="Ada", similarity=0.21),),
            faces=5,
        ),
    )


def _alert(face: FaceRecognitionEvent) -> AlertEvent:
    return AlertEvent(
        event_id=event_id("alert.triggered", CAMERA, MOMENT, "stranger:7"),
        timestamp=MOMENT,
        camera_id=CAMERA,
        alert_level=AlertLevel.WARNING,
        alert_message="A person who is not enrolled is at entrance.",
        associated_events=(face.event_id,),
        rule="stranger",
    )


def _status() -> SystemStatusEvent:
    return SystemStatusEvent(
        event_id=event_id("system.status", CAMERA, MOMENT, "offline"),
        timestamp=MOMENT,
        camera_id=CAMERA,
        component="camera",
        status="offline",
        detail="no packet for 5 s",
    )

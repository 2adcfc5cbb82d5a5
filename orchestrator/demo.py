"""The demonstration: who plays, what each camera shows, and a witness that reads the bus like any consumer."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr

from eventbus.bus import EventBus
from eventbus.events import (
    AlertEvent,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
    decode,
)
from orchestrator.camera import Camera
from orchestrator.recognition.enrolled import EnrolledPerson

RTSP_CAMERAS = ("lobby", "gate")


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody who is enrolled before the cameras start."""

    name: str
    clip: str
    authorized: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What a camera of the demo shows."""

    camera_id: str
    clip: str
    shows: str


CAST = (
    Role("Ada", "face_again.mkv", authorized=True),
    Role("Ben", "face_bird.mkv", authorized=True),
    Role("Cleo", "face_book.mkv", authorized=False),
)
SCENES = (
    Scene("lobby", "face_brother.mkv", "Ada, in another clip than the one she was enrolled from"),
    Scene("office", "face_milk.mkv", "Ben, likewise"),
    Scene("vault", "face_learn.mkv", "Cleo, who is enrolled without authorisation"),
    Scene("gate", "face_night.mkv", "somebody who was never enrolled"),
    Scene("hall", "one-by-one-person-detection.mp4", "people far away, one after the other"),
    Scene("road", "car-detection.mp4", "cars, and nobody"),
)


def to_be_enrolled(people: Iterable[EnrolledPerson], embedder: str | None) -> tuple[Role, ...]:
    """Whom of the cast no earlier demo has enrolled with this embedder, known by the digest of its weights."""
    ready = {each.person_name for each in people if embedder in (None, each.model.sha256)}
    return tuple(role for role in CAST if role.name not in ready)


def cameras(clips: dict[str, Path], rtsp: str | None) -> tuple[Camera, ...]:
    """The scenes as cameras; some through the RTSP server at address `rtsp`, if there is one."""
    return tuple(
        Camera(
            camera_id=scene.camera_id,
            url=SecretStr(
                f"{rtsp}/{scene.camera_id}"
                if rtsp and scene.camera_id in RTSP_CAMERAS
                else str(clips[scene.clip])
            ),
            loop=True,
        )
        for scene in SCENES
    )


@dataclass(slots=True)
class Testimony:
    """What came over the bus, by camera."""

    motion: dict[str, int] = field(default_factory=dict)
    people: dict[str, set[str]] = field(default_factory=dict)
    strangers: dict[str, set[str]] = field(default_factory=dict)
    alerts: list[AlertEvent] = field(default_factory=list)
    events: int = 0
    repeats: int = 0


async def witness(bus: EventBus, testimony: Testimony, *, since: datetime) -> None:
    """Read every topic until cancelled; what earlier runs left on the bus is passed over."""
    seen: set[str] = set()
    async with aclosing(bus.subscribe(bus.topics.all, "fess-demo")) as deliveries:
        async for delivery in deliveries:
            event = decode(delivery.payload)
            await delivery.ack()
            if event.timestamp < since:
                continue
            if str(event.event_id) in seen:
                testimony.repeats += 1
                continue
            seen.add(str(event.event_id))
            match event:
                case MotionDetectionEvent():
                    count = testimony.motion.get(event.camera_id, 0)
                    testimony.motion[event.camera_id] = count + 1
                case FaceRecognitionEvent(person_name=None):
                    testimony.strangers.setdefault(event.camera_id, set()).add(event.face_id)
                case FaceRecognitionEvent():
                    name = str(event.person_name)
                    testimony.people.setdefault(event.camera_id, set()).add(name)
                case AlertEvent():
                    testimony.alerts.append(event)
                case SystemStatusEvent():
                    pass  # a camera came or went; the table shows it
            testimony.events += 1

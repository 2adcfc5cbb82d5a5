"""One camera's path with scripted eyes and everything else real."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from alerting.rules import AlertConfig, AlertRules
from eventbus.events import Event, MotionDetectionEvent, decode
from orchestrator.board import Board, Mark
from orchestrator.camera import Camera
from orchestrator.detection import Detections
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Coverage
from orchestrator.metrics import Metrics
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.motion.gate import MotionGate
from orchestrator.picture import ArrayPicture, Picture
from orchestrator.pipeline import CameraPipeline, Policy, Stages
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.recogniser import FaceRecogniser
from orchestrator.replay import EventLines
from orchestrator.report import Reporter
from orchestrator.settings import FacesSettings, MotionSettings
from orchestrator.tracking.byte_tracker import ByteTracker
from tests.recognition.scripted import PaintedFace, ScriptedDetector, ScriptedEmbedder, paint
from tests.recognition.vectors import axis, gallery, subject
from tests.tracking.walk import Box, Seen, sight

PERSON, CAR = 0, 1
ADA, BEN, NOBODY = 0, 1, 6
WHOLE: Box = (10.0, 10.0, 630.0, 470.0)
AT_ONCE = FacesSettings(agreement=1, max_faces=1)


class ScriptedObjects:
    """An object detector that sees what it is told to, or fails as told."""

    model = DetectionModel(ModelVersion("object_detector", "1", "d" * 64), ("person", "car"))

    def __init__(self) -> None:
        self.sees = Detections.empty()
        self.failure: Exception | None = None
        self.blocked: asyncio.Event | None = None
        self.deadlines_s: list[float] = []

    async def detect(self, picture: Picture, *, deadline_s: float) -> Detections:
        self.deadlines_s.append(deadline_s)
        if self.blocked is not None:
            await self.blocked.wait()
        if self.failure is not None:
            raise self.failure
        return replace(self.sees, model=self.model)


class Shelf:
    """Ada may be here, Ben may not; and the detections that were cached."""

    def __init__(self) -> None:
        self.current: Gallery = gallery(
            [subject("Ada", axis(ADA)), subject("Ben", axis(BEN), authorized=False)]
        )
        self.cached: list[int] = []

    def put_detections(self, frame: Frame, detections: Detections) -> None:
        self.cached.append(len(detections))


class Site:
    """A camera's path with scripted eyes and everything else real; each step is a frame, 0.2 s apart."""

    def __init__(
        self,
        camera: Camera,
        policy: Policy,
        *,
        gate: bool = False,
        rules: FacesSettings = AT_ONCE,
        objects: ScriptedObjects | None = None,
    ) -> None:
        self.now_s = 50.0
        self.ledger, self.board, self.registry = CameraLedger(), Board(), CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.objects = objects or ScriptedObjects()
        self.faces, self.shelf = ScriptedDetector(), Shelf()
        self.lines: list[bytes] = []
        self.board.add_camera(camera, self.ledger)
        recogniser = FaceRecogniser(
            camera.camera_id,
            self.faces,
            ScriptedEmbedder(),
            self.shelf,
            threshold=0.55,
            settings=rules,
            metrics=self.metrics,
        )
        stages = Stages(
            gate=MotionGate(MotionSettings(enabled=gate), camera),
            detector=self.objects,
            tracker=ByteTracker(high=policy.score),
            recogniser=recogniser,
            reporter=Reporter(camera.camera_id, self.objects.model, {}),
            alerts=AlertRules(AlertConfig()),
            sink=EventLines(self.lines.append),
            cache=self.shelf,
        )
        self.pipeline = CameraPipeline(
            camera,
            stages,
            policy,
            ledger=self.ledger,
            board=self.board,
            metrics=self.metrics,
            clock=lambda: self.now_s,
        )

    def sees(self, *seen: Seen | Box) -> None:
        self.objects.sees = sight(*seen)

    def shows(self, who: int) -> ArrayPicture:
        """Somebody whose face fills the middle of the picture, and whom both detectors see."""
        face = PaintedFace(who, 260, 120)
        self.faces.faces = [face]
        self.sees(Seen(WHOLE))
        return paint(face)

    def frame(self, picture: Picture | None = None, age_s: float = 0.01) -> Frame:
        """The next frame, decoded `age_s` ago."""
        self.now_s += 0.2
        number = self.ledger.decoded()
        shown = picture or ArrayPicture(np.zeros((480, 640, 3), np.uint8))
        captured_at = datetime.fromtimestamp(1_800_000_000 + self.now_s, UTC)
        return Frame("door", number, shown, self.now_s - 50.0, captured_at, self.now_s - age_s)

    async def step(self, picture: Picture | None = None, age_s: float = 0.01) -> list[str]:
        """Inspect a frame; returns the types of the events it caused."""
        before = len(self.lines)
        await self.pipeline.inspect(self.frame(picture, age_s))
        return [event.event_type for event in self.events[before:]]

    @property
    def events(self) -> list[Event]:
        return [decode(line) for line in self.lines]

    @property
    def motion(self) -> list[MotionDetectionEvent]:
        return [event for event in self.events if isinstance(event, MotionDetectionEvent)]

    @property
    def coverage(self) -> Coverage:
        return self.ledger.coverage()

    @property
    def marks(self) -> tuple[Mark, ...]:
        view = self.board.view("door")[1]
        return view.marks if view else ()

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


LIVE = Policy(score=0.5, max_age_s=0.5, motion_interval_s=0.0)


def open_site(
    policy: Policy = LIVE,
    *,
    gate: bool = False,
    rules: FacesSettings = AT_ONCE,
    objects: ScriptedObjects | None = None,
    **fields: object,
) -> Site:
    camera = Camera.model_validate({"camera_id": "door", "url": SecretStr("x.mp4"), **fields})
    return Site(camera, policy, gate=gate, rules=rules, objects=objects)

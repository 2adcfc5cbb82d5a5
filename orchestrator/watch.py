"""Builds one camera's path and follows the camera through it."""

import asyncio
import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from alerting.rules import AlertConfig, AlertRules
from orchestrator.board import Board
from orchestrator.camera import Camera, CameraState
from orchestrator.capture.address import is_file
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.handing import hand_on
from orchestrator.capture.reader import Continuity
from orchestrator.capture.stream import open_frames
from orchestrator.capture.supervisor import supervise
from orchestrator.inference.models import FaceModels, Models
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.motion.gate import MotionGate
from orchestrator.pipeline import CameraPipeline, Policy, Stages
from orchestrator.ports import EventSink
from orchestrator.recognition.face_cache import FaceCache
from orchestrator.recognition.gallery import GallerySource
from orchestrator.recognition.recogniser import FaceRecogniser
from orchestrator.report import Reporter
from orchestrator.settings import AlertsSettings, Settings
from orchestrator.tracking.byte_tracker import ByteTracker

# Multiples of it, modulo 1, stay evenly spread however many there are.
GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Faces:
    """What recognising needs. `cache` is None in a replay, which leaves no trace in Redis."""

    models: FaceModels
    gallery: GallerySource
    cache: FaceCache | None


class CameraWatch:
    """Shared by the cameras of a process; `follow` is called once for each."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        faces: Faces | None,
        sink: EventSink,
        *,
        board: Board,
        metrics: Metrics,
        replay: bool = False,
        lost: Collection[str] = (),
    ) -> None:
        """A replay is never late, and says nothing about how long things took.

        lost  cameras whose loss has been told: that of the process which watched them before
        """
        self._settings = settings
        self._models = models
        self._faces = faces
        self._sink = sink
        self._board = board
        self._metrics = metrics
        self._replay = replay
        self._alerts = AlertRules(alert_config(settings.alerts), lost=lost)
        self._opening = asyncio.Semaphore(settings.capture.max_opening)
        # Cameras that start together would be looked at together for ever, and wait for each other in Triton.
        self._turns = (number * GOLDEN_RATIO % 1.0 for number in itertools.count())

    async def follow(self, camera: Camera) -> None:
        """Watch a camera until cancelled, or until its file has ended."""
        ledger = CameraLedger()
        self._board.add_camera(camera, ledger)
        pipeline = self.pipeline(camera, ledger)
        capture = self._settings.capture
        try:
            await supervise(
                camera,
                partial(
                    open_frames,
                    camera,
                    settings=capture,
                    ledger=ledger,
                    metrics=self._metrics,
                    continuity=Continuity(turn=next(self._turns)),
                ),
                pipeline.inspect,
                on_state=pipeline.changed,
                on_reason=partial(self._board.set_state, camera.camera_id, CameraState.OFFLINE),
                backoff=Backoff(capture.backoff_base, capture.backoff_cap),
                opening=self._opening,
                metrics=self._metrics,
                ahead=_unhurried(camera),
            )
        except asyncio.CancelledError:
            pipeline.end()
            self._board.remove_camera(camera.camera_id)
            raise
        except Exception:  # a bug: the fleet contains it, and people must know that nobody looks
            await pipeline.changed(CameraState.OFFLINE, "a fault in its path; see the log")
            raise

    async def replay(self, camera: Camera, started_at: datetime) -> None:
        """Take every sampled frame of a file through the same path, on the file's own time."""
        ledger = CameraLedger()
        self._board.add_camera(camera, ledger)
        pipeline = self.pipeline(camera, ledger)
        async with open_frames(
            camera,
            settings=self._settings.capture,
            ledger=ledger,
            metrics=self._metrics,
            lossless=True,
            started_at=started_at,
        ) as frames:
            await hand_on(frames, pipeline.inspect, ahead=True)
        pipeline.end()

    def pipeline(self, camera: Camera, ledger: CameraLedger) -> CameraPipeline:
        settings = self._settings
        policy = Policy(
            score=settings.detector.score_threshold,
            max_age_s=self._max_age_s(camera),
            motion_interval_s=settings.events.motion_interval,
        )
        stages = Stages(
            gate=MotionGate(settings.motion, camera),
            detector=self._models.detector,
            tracker=ByteTracker(high=settings.detector.score_threshold),
            recogniser=self._recogniser(camera),
            reporter=self._reporter(camera),
            alerts=self._alerts,
            sink=self._sink,
            cache=self._faces.cache if self._faces else None,
        )
        return CameraPipeline(
            camera, stages, policy, ledger=ledger, board=self._board, metrics=self._metrics
        )

    def _max_age_s(self, camera: Camera) -> float | None:
        if self._replay:
            return None
        return math.inf if _unhurried(camera) else self._settings.capture.max_frame_age

    def _recogniser(self, camera: Camera) -> FaceRecogniser | None:
        if self._faces is None:
            return None
        return FaceRecogniser(
            camera.camera_id,
            self._faces.models.detector,
            self._faces.models.embedder,
            self._faces.gallery,
            threshold=self._faces.models.match_threshold,
            settings=self._settings.faces,
            metrics=self._metrics,
            store=self._faces.cache,
        )

    def _reporter(self, camera: Camera) -> Reporter:
        detector = self._settings.detector
        return Reporter(
            camera_id=camera.camera_id,
            model=self._models.detector.model,
            thresholds={"score": detector.score_threshold, "nms": detector.nms_threshold},
        )


def _unhurried(camera: Camera) -> bool:
    """A file that is read as fast as it is taken has no present to be late for."""
    return camera.pace == "fast" and is_file(camera)


def alert_config(alerts: AlertsSettings) -> AlertConfig:
    return AlertConfig(
        strangers=alerts.enabled and alerts.strangers,
        unauthorized=alerts.enabled and alerts.unauthorized,
        cameras=alerts.cameras,
        hours=alerts.hours,
        cooldown_s=alerts.cooldown,
    )

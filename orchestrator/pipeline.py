"""One camera's path, a line a stage: motion, detection, tracking, recognition, events."""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from alerting.rules import AlertRules
from eventbus.events import Event, FaceRecognitionEvent, StageLatencies
from orchestrator.board import Board, Kind, Mark, View
from orchestrator.camera import Camera, CameraState
from orchestrator.detection import Detections
from orchestrator.errors import InferenceError, InferenceStale
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.metrics import Metrics
from orchestrator.model_version import DetectionModel
from orchestrator.motion.gate import MotionGate
from orchestrator.ports import DetectionCache, EventSink, ObjectDetector, Recogniser, Tracker
from orchestrator.region import in_regions
from orchestrator.report import Reporter, camera_status
from orchestrator.stopwatch import Stopwatch
from orchestrator.track import Track

# Replay waits for an answer as long as it takes; this only ends a request to a server that is gone.
PATIENCE_S = 60.0
PERSON = "person"


@dataclass(frozen=True, slots=True)
class Policy:
    """How one camera's findings are handled.

    score          detections below it only continue a track; they are not reported
    max_age_s      frames older than this are not inspected; None in a replay, where nothing is late or left out
    motion_interval_s  least stream time between two motion events
    """

    score: float
    max_age_s: float | None
    motion_interval_s: float


@dataclass(frozen=True, slots=True)
class Stages:
    """What a camera's path is made of; app.py builds it. reporter: of the detector as it is at the start."""

    gate: MotionGate
    detector: ObjectDetector
    tracker: Tracker
    recogniser: Recogniser | None
    reporter: Reporter
    alerts: AlertRules
    sink: EventSink
    cache: DetectionCache | None


class CameraPipeline:
    """Holds one camera's tracks; frames are inspected in the order they are given.

    The next may be given while one is still on its way: it is looked at and detected meanwhile, and what depends on
    the frame before waits for that.
    """

    def __init__(
        self,
        camera: Camera,
        stages: Stages,
        policy: Policy,
        *,
        ledger: CameraLedger,
        board: Board,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._stages = stages
        self._policy = policy
        self._ledger = ledger
        self._board = board
        self._metrics = metrics
        self._clock = clock
        self._motion_due_s = float("-inf")
        self._reporter = stages.reporter
        self._person_classes = person_classes(stages.reporter.labels)
        self._through = asyncio.Event()
        self._through.set()
        self._looking = asyncio.Lock()
        # In a replay each frame is asked for alone: what is found must not depend on what else was in its batch.
        self._asking = asyncio.Lock() if policy.max_age_s is None else nullcontext()

    async def inspect(self, frame: Frame) -> None:
        """Take one frame all the way; it leaves the ledger exactly once, cancelled or not.

        None gets past one that was cancelled or ended by a bug, and that one does not end before those before it.
        """
        before, through = self._through, asyncio.Event()
        self._through = through
        skipped: Skip | None = Skip.ERROR  # unless it ends by a bug, this is replaced
        try:
            skipped = await self._walk(frame, before)
            await before.wait()
            through.set()
        except asyncio.CancelledError:
            skipped = Skip.STALE
            raise
        except Exception:  # a bug: what was seen before it is told before it ends this path
            await before.wait()
            raise
        finally:
            if skipped is None:
                self._ledger.inspected()
            else:
                self._ledger.skipped(skipped)

    async def changed(self, state: CameraState, detail: str) -> None:
        """The camera was lost or is back: tell everybody, and end tracks that nobody follows any more."""
        camera_id = self._camera.camera_id
        self._board.set_state(camera_id, state, detail)
        if state is not CameraState.ONLINE:
            self.end()
        self._emit(camera_status(camera_id, state, detail, datetime.now(UTC)))

    def end(self) -> None:
        """End all tracks, for nobody follows them any more, and report what can still be said of them."""
        self._conclude(self._stages.tracker.close())

    async def _walk(self, frame: Frame, before: asyncio.Event) -> Skip | None:
        watch = Stopwatch(frame.received_s, self._metrics, self._clock)
        if self._is_late(frame):
            return Skip.STALE
        if not await self._moves(frame, before, watch):
            return Skip.NO_MOTION
        try:
            detections = await self._detect(frame, watch)
        except InferenceError as failure:
            if self._is_replay:
                raise
            return Skip.STALE if isinstance(failure, InferenceStale) else Skip.ERROR
        await before.wait()
        tracks = self._follow(frame, detections, watch)
        recognised = await self._recognise(frame, tracks, watch)
        self._publish(frame, detections, tracks, recognised, watch)
        self._board.record_latency(self._camera.camera_id, self._clock() - frame.received_s)
        self._show(frame, tracks)
        return None

    @property
    def _is_replay(self) -> bool:
        """A replay is never late; and it is whole, or it has failed."""
        return self._policy.max_age_s is None

    def _is_late(self, frame: Frame) -> bool:
        max_age_s = self._policy.max_age_s
        return max_age_s is not None and self._clock() - frame.received_s > max_age_s

    def _deadline_s(self, frame: Frame) -> float:
        max_age_s = self._policy.max_age_s
        return self._clock() + PATIENCE_S if max_age_s is None else frame.received_s + max_age_s

    async def _moves(self, frame: Frame, before: asyncio.Event, watch: Stopwatch) -> bool:
        gate = self._stages.gate
        async with self._looking:
            with watch.stage("motion"):
                moves = gate.look(frame.picture, frame.pts_s)
            if moves:
                return True
            await before.wait()
            return self._stages.tracker.live and gate.look_again(frame.pts_s)

    async def _detect(self, frame: Frame, watch: Stopwatch) -> Detections:
        async with self._asking:
            with watch.stage("detection"):
                found = await self._stages.detector.detect(
                    frame.picture, deadline_s=self._deadline_s(frame)
                )
        self._metrics.detection_latency.labels(self._camera.camera_id).observe(
            self._clock() - frame.received_s
        )
        return in_regions(found, self._camera.regions, frame.picture.width, frame.picture.height)

    def _adopt(self, model: DetectionModel) -> None:
        """The detector was swapped: its digest, its labels and what is a person change together.

        Tracks end with the names of their classes: number 2 of another list is another thing.
        """
        if model.labels != self._reporter.labels:
            self.end()
        self._reporter = replace(self._reporter, model=model)
        self._person_classes = person_classes(model.labels)

    def _follow(self, frame: Frame, detections: Detections, watch: Stopwatch) -> tuple[Track, ...]:
        if detections.model is not None and detections.model != self._reporter.model:
            self._adopt(detections.model)
        with watch.stage("tracking"):
            update = self._stages.tracker.update(detections, frame.pts_s)
        self._conclude(update.ended)
        return update.active

    async def _recognise(
        self, frame: Frame, tracks: tuple[Track, ...], watch: Stopwatch
    ) -> tuple[FaceRecognitionEvent, ...]:
        recogniser = self._stages.recogniser
        persons = tuple(track for track in tracks if self._is_person(track))
        if recogniser is None or not persons:
            return ()
        try:
            with watch.stage("recognition"):
                recognitions = await recogniser.recognise(
                    frame, persons, deadline_s=self._deadline_s(frame)
                )
        except InferenceError:
            if self._is_replay:
                raise
            return ()  # counted where it failed; the objects found are reported all the same
        return tuple(
            self._reporter.face(recognition, self._latencies(watch)) for recognition in recognitions
        )

    def _publish(
        self,
        frame: Frame,
        detections: Detections,
        tracks: tuple[Track, ...],
        recognised: tuple[FaceRecognitionEvent, ...],
        watch: Stopwatch,
    ) -> None:
        with watch.stage("events"):
            shown = detections[detections.confidence >= self._policy.score]
            for class_id in shown.class_id:
                label = self._reporter.label(int(class_id))
                self._metrics.detections.labels(self._camera.camera_id, label).inc()
            if len(shown) and frame.pts_s >= self._motion_due_s:
                self._motion_due_s = frame.pts_s + self._policy.motion_interval_s
                self._emit(self._reporter.motion(frame, shown, tracks, self._latencies(watch)))
            if self._stages.cache is not None and len(shown):
                self._stages.cache.put_detections(frame, shown)
            for event in recognised:
                self._emit_face(event)

    def _show(self, frame: Frame, tracks: tuple[Track, ...]) -> None:
        self._board.show(
            self._camera.camera_id, View(frame, tuple(self._mark(track) for track in tracks))
        )

    def _mark(self, track: Track) -> Mark:
        identity = self._identity(track)
        if identity is None:
            kind: Kind = "person" if self._is_person(track) else "object"
            label = self._reporter.label(track.class_id)
            return Mark(track.xyxy, label, track.track_id, kind, track.confidence)
        if identity.person_name is None:
            return Mark(track.xyxy, "stranger", track.track_id, "stranger", identity.confidence)
        kind = "known" if identity.is_authorized else "unauthorised"
        return Mark(track.xyxy, identity.person_name, track.track_id, kind, identity.confidence)

    def _emit_face(self, event: FaceRecognitionEvent) -> None:
        authorized = "true" if event.is_authorized else "false"
        self._metrics.face_recognitions.labels(self._camera.camera_id, authorized).inc()
        self._emit(event)

    def _emit(self, event: Event) -> None:
        self._stages.sink.put(event)
        self._board.record_event(event)
        for alert in self._stages.alerts.consider(event):
            self._metrics.alerts.labels(alert.rule, alert.alert_level).inc()
            self._stages.sink.put(alert)
            self._board.record_event(alert)

    def _identity(self, track: Track) -> Identity | None:
        recogniser = self._stages.recogniser
        return recogniser.identity(track.track_id) if recogniser is not None else None

    def _is_person(self, track: Track) -> bool:
        return not self._person_classes or track.class_id in self._person_classes

    def _conclude(self, track_ids: tuple[int, ...]) -> None:
        if self._stages.recogniser is not None and track_ids:
            for recognition in self._stages.recogniser.conclude(track_ids):
                self._emit_face(self._reporter.face(recognition, None))

    def _latencies(self, watch: Stopwatch) -> StageLatencies | None:
        return None if self._is_replay else watch.latencies()


def person_classes(labels: tuple[str, ...]) -> frozenset[int]:
    """Label numbers whose tracks may carry a face; none: the labels do not tell, so all may."""
    return frozenset({labels.index(PERSON)} if PERSON in labels else ())

"""Replays a clip through the same path as a live camera, on the clip's own time, with nothing dropped.

The same clip, configuration and gallery give the same bytes: no wall clock, no random number and no
measured latency goes into an event.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from eventbus.events import Event, encode
from orchestrator.annotate import draw
from orchestrator.app import Process, make_triton_client
from orchestrator.board import Board, View
from orchestrator.camera import Camera
from orchestrator.capture.recorder import Recorder
from orchestrator.inference.models import FaceModels, await_models
from orchestrator.ledger import Coverage
from orchestrator.recognition.connection import connect
from orchestrator.recognition.gallery_watcher import GalleryWatcher
from orchestrator.settings import Settings
from orchestrator.watch import CameraWatch, Faces

# A replay's clock begins here unless told otherwise: any fixed instant would do.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# How long a slow server may take; nothing is late in a replay.
PATIENCE_S = 60.0
VIDEO_WIDTH_PX = 1280


class EventLines:
    """Hands each event on as one JSON line."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.events = 0

    def put(self, event: Event) -> None:
        self._write(encode(event) + b"\n")
        self.events += 1


class RecordingBoard(Board):
    """A board that also draws every inspected frame into a video."""

    def __init__(self, recorder: Recorder | None, on_view: Callable[[float], None]) -> None:
        super().__init__()
        self._recorder = recorder
        self._on_view = on_view

    def show(self, camera_id: str, view: View) -> None:
        if self._recorder is not None:
            width = min(VIDEO_WIDTH_PX, view.frame.picture.width)
            self._recorder.write(draw(view, width), view.frame.pts_s)
        self._on_view(view.frame.pts_s)


async def replay(
    settings: Settings,
    camera: Camera,
    write: Callable[[bytes], object],
    *,
    video: Path | None = None,
    started_at: datetime = EPOCH,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Coverage:
    """Write the clip's events through `write`; returns what became of its frames.

    settings must name running servers. on_progress is told the clip's time in seconds. Raises
    CameraError, InferenceUnavailable, CacheError.
    """
    patient = settings.triton.model_copy(update={"timeout": PATIENCE_S})
    settings = settings.model_copy(update={"triton": patient})
    process = Process.of(settings)
    client = make_triton_client(settings, process.metrics, patient=True)
    try:
        with ExitStack() as stack:
            recorder = stack.enter_context(Recorder(video, camera.fps)) if video else None
            models = await await_models(client, settings)
            board = RecordingBoard(recorder, on_progress)
            watch = CameraWatch(
                settings,
                models,
                await _faces(settings, models.faces, process) if models.faces else None,
                EventLines(write),
                board=board,
                metrics=process.metrics,
                replay=True,
            )
            await watch.replay(camera, started_at)
            return board.ledgers()[0][1]
    finally:
        await client.close()


async def _faces(settings: Settings, models: FaceModels, process: Process) -> Faces:
    """The gallery as it is now: a change while replaying must not change the events."""
    redis = connect(settings.redis)
    try:
        watcher = GalleryWatcher(
            redis, models.embedder.model, models.embedder.dimension, metrics=process.metrics
        )
        await watcher.refresh()
        return Faces(models, watcher, None)
    finally:
        await redis.aclose()

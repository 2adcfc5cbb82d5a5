"""What the `fess faces` commands need: the gallery's store and, to enrol, the face models."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from orchestrator.app import make_triton_client
from orchestrator.camera import Camera
from orchestrator.capture.stream import open_frames
from orchestrator.errors import CameraError, EnrolmentRefused, SettingsError
from orchestrator.inference.models import await_models
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion
from orchestrator.recognition.connection import connect, ping
from orchestrator.recognition.enrolment import Accepted, Examination, Examiner, Refused, Sample
from orchestrator.recognition.gallery_reader import GalleryReader
from orchestrator.recognition.gallery_store import GalleryStore
from orchestrator.recognition.still import open_still
from orchestrator.servers import open_servers
from orchestrator.settings import Settings

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv")
)
VIDEO_FPS = 5.0
VIDEO_FRAMES = 60


@dataclass(frozen=True, slots=True)
class FaceModel:
    """The models in use, as far as enrolment asks."""

    version: ModelVersion
    dimension: int
    examiner: Examiner
    reader: GalleryReader  # of those who can be compared under this model


class FaceServices:
    """Open for the length of one command."""

    def __init__(self, settings: Settings, metrics: Metrics, store: GalleryStore) -> None:
        self._settings = settings
        self._metrics = metrics
        self.store = store

    @asynccontextmanager
    async def model(self) -> AsyncIterator[FaceModel]:
        """Connect to Triton; waits until it serves the models. Raises SettingsError."""
        if not self._settings.faces.enabled:
            raise SettingsError("faces are switched off; set FACES_ENABLED=true")
        client = make_triton_client(self._settings, self._metrics)
        try:
            faces = (await await_models(client, self._settings)).faces
            if faces is None:
                raise SettingsError("faces are switched off; set FACES_ENABLED=true")
            examiner = Examiner(
                faces.detector,
                faces.embedder,
                self._settings.faces,
                threshold=faces.match_threshold,
            )
            model, dimension = faces.embedder.model, faces.embedder.dimension
            reader = GalleryReader(self.store, model, dimension)
            yield FaceModel(model, dimension, examiner, reader)
        finally:
            await client.close()

    async def examine(self, examiner: Examiner, path: Path) -> Examination:
        """One file's faces, and the reasons for those that are refused. Raises InferenceError."""
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                return await self._examine_video(examiner, path)
            face: Accepted = await examiner.still(Sample(path.name, open_still(path)))
        except EnrolmentRefused as error:
            return Examination((), (Refused(path.name, str(error).removeprefix(f"{path.name}: ")),))
        return Examination((face,), ())

    async def _examine_video(self, examiner: Examiner, path: Path) -> Examination:
        if not path.is_file():
            raise EnrolmentRefused(f"{path.name}: cannot be opened: no such file")
        if path.stat().st_size == 0:
            raise EnrolmentRefused(f"{path.name}: the file is empty (0 bytes)")
        try:
            async with aclosing(self._samples(path)) as samples:
                return await examiner.video(samples)
        except CameraError as error:
            raise EnrolmentRefused(f"{path.name}: cannot be read: {error.reason}") from error

    async def _samples(self, path: Path) -> AsyncGenerator[Sample, None]:
        camera = Camera(camera_id="enrolment", url=SecretStr(str(path)), fps=VIDEO_FPS, pace="fast")
        async with open_frames(
            camera,
            settings=self._settings.capture,
            ledger=CameraLedger(),
            metrics=self._metrics,
            lossless=True,
            started_at=datetime.now(UTC),
        ) as frames:
            left = VIDEO_FRAMES
            async for frame in frames:
                yield Sample(f"{path.name} at {frame.pts_s:.1f} s", frame.picture)
                left -= 1
                if left == 0:
                    return


@asynccontextmanager
async def open_services(
    settings: Settings, *, triton: bool, on_progress: Callable[[str], None] | None = None
) -> AsyncIterator[FaceServices]:
    """Reach Redis and, where `triton`, Triton: those of the settings, or embedded ones. Raises FessError."""
    tell = on_progress or _tell
    async with open_servers(settings, triton=triton, on_progress=tell) as servers:
        redis = connect(servers.settings.redis)
        try:
            await ping(redis)
            yield FaceServices(servers.settings, Metrics(CollectorRegistry()), GalleryStore(redis))
        finally:
            await redis.aclose()


def _tell(message: str) -> None:
    """Progress is for people: not in what `--json` prints."""
    typer.echo(message, err=True)

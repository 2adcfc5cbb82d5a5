"""The composition root: builds every object of a process and passes it in; nothing else does."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from eventbus.bus import BusError
from orchestrator.board import Board
from orchestrator.buses import make_bus
from orchestrator.camera import Camera, CameraState
from orchestrator.delivery import make_outbox
from orchestrator.errors import CacheError
from orchestrator.fleet import Fleet
from orchestrator.health import Check, Health
from orchestrator.http import HttpServer
from orchestrator.inference.breaker import Breaker
from orchestrator.inference.models import FaceModels, Models, await_models
from orchestrator.inference.triton import TritonClient
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.models import check_served
from orchestrator.recognition.connection import connect, ping
from orchestrator.recognition.face_cache import FaceCache
from orchestrator.recognition.gallery_watcher import GalleryWatcher
from orchestrator.settings import Settings
from orchestrator.telemetry import export_ledgers, sample_process
from orchestrator.watch import CameraWatch, Faces

log = logging.getLogger(__name__)

CameraLists = AsyncIterator[tuple[Camera, ...]]
DRAIN_S = 5.0
WAITING = "waiting for Triton to serve the models"
# Together with the drain less than a supervisor waits before it kills.
STUCK_AFTER_S = 2.5


@dataclass(frozen=True, slots=True)
class Process:
    """What exists once a process, before any server answers."""

    settings: Settings
    registry: CollectorRegistry
    metrics: Metrics
    board: Board

    @classmethod
    def of(cls, settings: Settings) -> "Process":
        registry = CollectorRegistry()
        board = Board()
        export_ledgers(registry, board)
        return cls(settings, registry, Metrics(registry), board)


async def run(
    process: Process,
    cameras: CameraLists,
    *,
    stop: asyncio.Event,
    on_listening: Callable[[HttpServer], Awaitable[None] | None] = lambda _: None,
    lost: Collection[str] = (),
) -> None:
    """Watch the cameras until `stop` is set or every camera's file has ended; then deliver what waits.

    Every server the settings name may be away at the start: it is waited for, with a message, while
    /health says so. Raises SettingsError for what waiting would not mend.

    lost  cameras whose loss has been told: that of the process which watched them before
    """
    app = App(process, lost)
    try:
        await app.run(cameras, stop, on_listening)
    finally:
        await app.close()


class App:
    """One process at work."""

    def __init__(self, process: Process, lost: Collection[str]) -> None:
        settings = process.settings
        self._process = process
        self._lost = lost
        self._bus = make_bus(settings)
        self._outbox = make_outbox(self._bus, settings, process.metrics)
        self._redis = connect(settings.redis)
        self._triton = make_triton_client(settings, process.metrics)
        self._models: Models | None = None
        self._gallery: GalleryWatcher | None = None
        self._cache: FaceCache | None = None

    async def run(
        self,
        cameras: CameraLists,
        stop: asyncio.Event,
        on_listening: Callable[[HttpServer], Awaitable[None] | None],
    ) -> None:
        server = HttpServer(
            self._process.settings.http,
            board=self._process.board,
            health=Health(
                self._process.board, self._checks(), disk=self._process.settings.state_dir
            ),
            registry=self._process.registry,
        )
        async with server:
            told = on_listening(server)
            if told is not None:
                await told
            try:
                await self._work(cameras, stop)
            finally:  # also where a bug ends the process: what was seen is not forgotten
                await self._outbox.drain(DRAIN_S)

    async def _work(self, cameras: CameraLists, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(self._outbox.run(), name="outbox"),
                tasks.create_task(self._sample(), name="telemetry"),
            ]
            watching = tasks.create_task(self._watch(cameras), name="cameras")
            stopping = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
            _, stuck = await asyncio.wait([watching], timeout=STUCK_AFTER_S)
            if stuck:
                log.error("told to stop, but still at work: %s", _at_work())
                await self._outbox.drain(DRAIN_S)  # whoever kills us now loses no event
                await asyncio.wait(stuck)
            for task in (stopping, *beside):
                task.cancel()

    async def close(self) -> None:
        self._outbox.close()
        await self._bus.close()
        await self._triton.close()
        await self._redis.aclose()

    async def _watch(self, cameras: CameraLists) -> None:
        """Follow the cameras; until Triton serves the models, each is shown to wait for it."""
        ready: asyncio.Future[CameraWatch] = asyncio.get_running_loop().create_future()

        async def follow(camera: Camera) -> None:
            await self._wait(camera, ready)
            await ready.result().follow(camera)

        async with asyncio.TaskGroup() as tasks:
            background = tasks.create_task(self._prepare(ready), name="models")
            await Fleet(follow, metrics=self._process.metrics).run(cameras)
            background.cancel()

    async def _wait(self, camera: Camera, ready: asyncio.Future[CameraWatch]) -> None:
        if ready.done():
            return
        board = self._process.board
        board.add_camera(camera, CameraLedger())
        board.set_state(camera.camera_id, CameraState.CONNECTING, WAITING)
        self._process.metrics.camera_online.labels(camera.camera_id).set(0)
        try:
            # Unlike `await ready`, this leaves it to the others when this camera is removed.
            await asyncio.wait([ready])
        finally:
            board.remove_camera(camera.camera_id)

    async def _prepare(self, ready: asyncio.Future[CameraWatch]) -> None:
        """Wait for the models, and keep up what the cameras share until cancelled."""
        models = await await_models(self._triton, self._process.settings, follow=True)
        self._models = models
        faces = None if models.faces is None else self._faces(models.faces)
        # What was loaded by now stays: nobody waits 80 ms again for the collector to walk it.
        gc.freeze()
        async with asyncio.TaskGroup() as tasks:
            for part in (self._gallery, self._cache):
                if part is not None:
                    tasks.create_task(part.run(), name=type(part).__name__)
            tasks.create_task(models.follow(), name="models")
            watch = CameraWatch(
                self._process.settings,
                models,
                faces,
                self._outbox,
                board=self._process.board,
                metrics=self._process.metrics,
                lost=self._lost,
            )
            ready.set_result(watch)

    def _faces(self, models: FaceModels) -> Faces:
        model, dimension = models.embedder.model, models.embedder.dimension
        metrics = self._process.metrics
        self._gallery = GalleryWatcher(self._redis, model, dimension, metrics=metrics)
        self._cache = FaceCache(
            self._redis,
            model,
            dimension,
            settings=self._process.settings.cache,
            metrics=metrics,
        )
        for part in (self._gallery, self._cache):
            models.embedder.on_change(part.use)
        return Faces(models, self._gallery, self._cache)

    async def _sample(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sample_process(self._process.metrics, self._process.board))
            while True:
                self._process.metrics.outbox_events.set(self._outbox.waiting)
                await asyncio.sleep(1.0)

    def _checks(self) -> dict[str, Check]:
        checks: dict[str, Check] = {
            "triton": self._check_triton,
            "models": self._check_models,
            "redis": self._check_redis,
            "outbox": self._check_outbox,
            "gallery": self._check_gallery,
        }
        if self._process.settings.triton.shared_memory == "on":
            checks["shared_memory"] = self._triton.check_sharing
        if self._process.settings.events.bus == "kafka":
            checks["kafka"] = self._bus.check
        return checks

    async def _check_triton(self) -> float:
        """Not Triton's own readiness once the models are known: that speaks of versions, too, that it refused."""
        if self._models is None:
            return await self._triton.check()
        self._models.detector.live.require_usable()
        return await self._triton.check(self._models.names)

    async def _check_models(self) -> float:
        if self._models is None:
            return 0.0
        return await check_served(self._process.settings, self._models)

    async def _check_redis(self) -> float:
        return await ping(self._redis) / 1000

    async def _check_outbox(self) -> float:
        if self._outbox.degraded:
            raise BusError(self._outbox.degraded)
        return 0.0

    async def _check_gallery(self) -> float:
        if self._gallery is not None and self._gallery.problem is not None:
            raise CacheError(self._gallery.problem)
        return 0.0


def _at_work() -> str:
    """Every task that has not ended, with the line it waits at."""
    waiting = []
    for task in asyncio.all_tasks():
        frames = task.get_stack(limit=1)
        line = f"{frames[0].f_code.co_name}:{frames[0].f_lineno}" if frames else "nowhere"
        waiting.append(f"{task.get_name()} in {line}")
    return ", ".join(sorted(waiting))


def make_triton_client(
    settings: Settings, metrics: Metrics, *, patient: bool = False
) -> TritonClient:
    """Connects on first use. patient: see `TritonClient`."""
    triton = settings.triton
    breaker = Breaker(
        triton.breaker_failures,
        triton.breaker_reset,
        on_change=lambda is_open: _breaker_changed(metrics, is_open),
    )
    return TritonClient(
        triton.url,
        timeout_s=triton.timeout,
        max_in_flight=triton.max_in_flight,
        breaker=breaker,
        metrics=metrics,
        patient=patient,
        shared_memory=triton.shared_memory,
        notes=settings.state_dir / "shared_memory",
    )


def _breaker_changed(metrics: Metrics, is_open: bool) -> None:
    metrics.breaker_open.set(is_open)
    if is_open:
        log.error("Triton does not answer in time, or not at all; frames are skipped until it does")
    else:
        log.warning("Triton answers again")

"""Cameras over numbered clips, watched through the real path against a Triton that a test hurts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from eventbus.events import MotionDetectionEvent, SystemStatusEvent, decode
from orchestrator.app import Process, make_triton_client
from orchestrator.board import Board, CameraStatus
from orchestrator.camera import Camera, CameraState
from orchestrator.fleet import Fleet
from orchestrator.inference.models import await_models
from orchestrator.ledger import CameraLedger, Coverage, Skip
from orchestrator.metrics import Metrics
from orchestrator.replay import EventLines
from orchestrator.settings import (
    CaptureSettings,
    FacesSettings,
    MotionSettings,
    Settings,
    TritonSettings,
)
from orchestrator.watch import CameraWatch
from tests.faults.vitals import Vitals, unharmed
from tests.servers.reading_model import numbers_in
from tests.servers.synthetic import make_clip

PICTURES = 50  # of a clip, which is played in a loop
RECOVERY_S = 120.0  # nothing takes so long, whatever else the machine does


@dataclass(frozen=True)
class NumberedCamera:
    """A clip whose pictures carry the numbers from `first` on."""

    camera: Camera
    first: int

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + PICTURES)

    def number_of(self, frame_number: int) -> int:
        return self.first + (frame_number - 1) % PICTURES


def numbered_cameras(folder: Path, count: int, *, fps: float = 12.5) -> tuple[NumberedCamera, ...]:
    """Cameras that never show the same number."""
    made = []
    for index in range(count):
        first = 1 + index * PICTURES
        clip = make_clip(folder / f"{index}.mp4", pictures=PICTURES, first=first)
        camera = Camera(camera_id=f"camera{index}", url=SecretStr(str(clip)), fps=fps, loop=True)
        made.append(NumberedCamera(camera, first))
    return tuple(made)


def triton_settings(url: str, **triton: object) -> Settings:
    """Every sampled frame goes to the server, and nothing else is needed."""
    return Settings(
        triton=TritonSettings.model_validate({"url": url, **triton}),
        faces=FacesSettings(enabled=False),
        motion=MotionSettings(enabled=False),
        capture=CaptureSettings(max_frame_age=0.5),
    )


@dataclass
class Watching:
    """Cameras that are being watched."""

    process: Process
    cameras: Sequence[NumberedCamera]
    lines: list[bytes] = field(default_factory=list)
    vitals: Vitals = field(default_factory=Vitals.now)

    @property
    def registry(self) -> CollectorRegistry:
        return self.process.registry

    @property
    def coverage(self) -> dict[str, Coverage]:
        return dict(self.process.board.ledgers())

    @property
    def statuses(self) -> tuple[CameraStatus, ...]:
        return self.process.board.cameras()

    @property
    def motion(self) -> list[MotionDetectionEvent]:
        events = [decode(line) for line in self.lines]
        return [event for event in events if isinstance(event, MotionDetectionEvent)]

    @property
    def statuses_told(self) -> list[SystemStatusEvent]:
        events = [decode(line) for line in self.lines]
        return [event for event in events if isinstance(event, SystemStatusEvent)]

    @property
    def lost(self) -> list[SystemStatusEvent]:
        """What was told of cameras that are not watched any more."""
        return [event for event in self.statuses_told if event.status != CameraState.ONLINE]

    @property
    def breaker_is_open(self) -> bool:
        return self.registry.get_sample_value("fess_inference_breaker_open") == 1

    def inspected(self, camera_id: str) -> int:
        found = self.coverage.get(camera_id)
        return found.inspected if found else 0

    def skipped(self, cause: Skip) -> int:
        return sum(coverage.skipped[cause] for coverage in self.coverage.values())

    def failures(self, cause: str) -> float:
        labels = {"model": "object_detector", "cause": cause}
        return self.registry.get_sample_value("fess_inference_failures_total", labels) or 0.0

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(RECOVERY_S):
            while not holds():  # noqa: ASYNC110 - many things are waited for, none of which tells
                await asyncio.sleep(0.02)

    async def until_all_see(self, more: int = 5) -> None:
        """Wait until each camera was inspected some times more than now."""
        before = self.coverage
        goals = {
            one.camera.camera_id: (before[one.camera.camera_id].inspected + more)
            if one.camera.camera_id in before
            else more
            for one in self.cameras
        }
        await self.until(lambda: all(self.inspected(name) >= goal for name, goal in goals.items()))

    def misplaced(self, *ignored: str) -> list[MotionDetectionEvent]:
        """Events that say what another frame shows, or another camera."""
        cameras = {one.camera.camera_id: one for one in self.cameras}
        return [
            event
            for event in self.motion
            if event.camera_id not in ignored
            and numbers_in(event) != [cameras[event.camera_id].number_of(event.frame_number)]
        ]


class Accounts(Board):
    """A board that remembers the ledgers of cameras that are not shown any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ledgers_seen: list[CameraLedger] = []

    def add_camera(self, camera: Camera, ledger: CameraLedger) -> None:
        self.ledgers_seen.append(ledger)
        super().add_camera(camera, ledger)


@asynccontextmanager
async def watching(
    settings: Settings, cameras: Sequence[NumberedCamera]
) -> AsyncIterator[Watching]:
    """Watch the cameras as `fess run` does.

    Once they are stopped, every frame must be accounted for, and the process be as it was before.
    """
    registry, board = CollectorRegistry(), Accounts()
    process = Process(settings, registry, Metrics(registry), board)
    client = make_triton_client(settings, process.metrics)
    seen = Watching(process, cameras)

    async def run() -> None:
        models = await await_models(client, settings, follow=True)
        sink = EventLines(seen.lines.append)
        watch = CameraWatch(settings, models, None, sink, board=board, metrics=process.metrics)
        await Fleet(watch.follow, metrics=process.metrics).run(_once(cameras))

    async with unharmed() as seen.vitals:
        try:
            async with asyncio.TaskGroup() as tasks:
                fleet = tasks.create_task(run())
                yield seen
                fleet.cancel()
        finally:
            await client.close()
    assert len(board.ledgers_seen) == len(cameras), "a camera was opened anew, or never"
    assert [ledger.coverage().pending for ledger in board.ledgers_seen] == [0] * len(cameras)


async def _once(cameras: Sequence[NumberedCamera]) -> AsyncIterator[tuple[Camera, ...]]:
    yield tuple(one.camera for one in cameras)

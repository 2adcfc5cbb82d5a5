"""One process at work: it ends when its files have, and leaves no event behind, however it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventbus.events import MotionDetectionEvent
from eventbus.spool import Spool
from eventbus.topics import Topics
from orchestrator.app import Process, run
from orchestrator.camera import Camera, CameraState
from orchestrator.embedded.loopback import free_ports
from orchestrator.errors import SettingsError
from orchestrator.settings import (
    CaptureSettings,
    DetectorSettings,
    EventsSettings,
    FacesSettings,
    HttpSettings,
    MotionSettings,
    RedisSettings,
    Settings,
    TritonSettings,
)
from tests.servers.impostor import Impostor, impostor
from tests.servers.synthetic import make_clip

PICTURES = 20


@pytest.fixture
async def triton() -> AsyncIterator[Impostor]:
    async with impostor() as server:
        yield server


@pytest.fixture
def settings(triton: Impostor, tmp_path: Path) -> Settings:
    """A bus that is away, so that whatever is left is on disk."""
    (away,) = free_ports(1)
    return Settings(
        state_dir=tmp_path,
        triton=TritonSettings(url=triton.url, timeout=60),
        redis=RedisSettings(host="127.0.0.1", port=away, socket_timeout=0.5),
        faces=FacesSettings(enabled=False),
        motion=MotionSettings(enabled=False),
        capture=CaptureSettings(max_frame_age=60),
        events=EventsSettings(outbox=tmp_path / "outbox"),
        http=HttpSettings(port=0),
    )


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    """A file whose every frame is inspected."""
    clip = make_clip(tmp_path / "clip.mp4", pictures=PICTURES)
    return Camera.model_validate(
        {"camera_id": "door", "url": str(clip), "fps": 25.0, "pace": "fast"}
    )


class CrashedByABug(Exception):
    """Nobody named it."""


def left_behind(settings: Settings) -> int:
    """Events that wait on disk for the next run."""
    spool = Spool(settings.events.outbox, settings.events.outbox_max_bytes, Topics())
    try:
        spool.open()
        return spool.waiting
    finally:
        spool.close()


def told(process: Process) -> int:
    return len(process.board.events())


async def test_it_ends_once_every_file_has_ended_and_what_the_bus_did_not_take_is_on_disk(
    settings: Settings, camera: Camera
) -> None:
    async def once() -> AsyncIterator[tuple[Camera, ...]]:
        yield (camera,)

    process = Process.of(settings)
    async with asyncio.timeout(60):
        await run(process, once(), stop=asyncio.Event())
    motion = [e for e in process.board.events() if isinstance(e, MotionDetectionEvent)]
    assert [event.frame_number for event in motion] == list(range(PICTURES, 0, -1))
    assert left_behind(settings) == told(process)


async def test_told_to_stop_it_ends_and_what_the_bus_did_not_take_is_on_disk(
    settings: Settings, camera: Camera
) -> None:
    stop = asyncio.Event()
    process = Process.of(settings)

    async def until_seen() -> AsyncIterator[tuple[Camera, ...]]:
        yield (camera.model_copy(update={"loop": True}),)
        await seen(process, 5)
        stop.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        await run(process, until_seen(), stop=stop)
    assert left_behind(settings) == told(process) > 5


async def test_a_bug_that_stops_the_process_costs_no_event(
    settings: Settings, camera: Camera
) -> None:
    process = Process.of(settings)

    async def crash() -> AsyncIterator[tuple[Camera, ...]]:
        yield (camera.model_copy(update={"loop": True}),)
        await seen(process, 5)
        raise CrashedByABug

    with pytest.raises(ExceptionGroup) as crashed:
        await run(process, crash(), stop=asyncio.Event())
    assert crashed.group_contains(CrashedByABug)
    assert left_behind(settings) == told(process) > 5


async def test_while_triton_is_away_each_camera_is_listed_as_waiting_for_it(
    settings: Settings, camera: Camera
) -> None:
    (away,) = free_ports(1)
    waiting = settings.model_copy(update={"triton": TritonSettings(url=f"127.0.0.1:{away}")})
    process, stop = Process.of(waiting), asyncio.Event()
    yard = camera.model_copy(update={"camera_id": "yard"})
    listed: list[list[tuple[str, CameraState, str]]] = []

    async def changing() -> AsyncIterator[tuple[Camera, ...]]:
        for cameras in ((camera, yard), (yard,)):
            yield cameras
            await asyncio.sleep(0)  # the camera's task begins
            listed.append([(c.camera_id, c.state, c.detail) for c in process.board.cameras()])
        stop.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        await run(process, changing(), stop=stop)
    told = (CameraState.CONNECTING, "waiting for Triton to serve the models")
    assert listed == [[("door", *told), ("yard", *told)], [("yard", *told)]]


async def seen(process: Process, frames: int) -> None:
    """Wait until the camera was inspected so many times."""
    async with asyncio.timeout(60):
        while not any(c.inspected >= frames for _, c in process.board.ledgers()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_setting_that_waiting_would_not_mend_ends_it_with_the_mend(
    settings: Settings,
) -> None:
    async def none() -> AsyncIterator[tuple[Camera, ...]]:
        yield ()
        await asyncio.Event().wait()

    wrong = settings.model_copy(update={"detector": DetectorSettings(classes=("unicorn",))})
    with pytest.raises(ExceptionGroup) as refused:
        await run(Process.of(wrong), none(), stop=asyncio.Event())
    assert refused.group_contains(SettingsError, match="unicorn is not a label")


async def test_a_camera_that_does_not_stop_when_told_to_costs_no_event(
    settings: Settings, camera: Camera, caplog: pytest.LogCaptureFixture
) -> None:
    stop, let_go = asyncio.Event(), asyncio.Event()
    process = Process.of(settings)

    async def stubborn() -> AsyncIterator[tuple[Camera, ...]]:
        yield (camera.model_copy(update={"loop": True}),)
        await seen(process, 5)
        stop.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await let_go.wait()
            raise

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run(process, stubborn(), stop=stop))
        while "still at work" not in caplog.text:  # noqa: ASYNC110  # a log line wakes nobody
            await asyncio.sleep(0.05)
        assert not running.done()
        let_go.set()
    assert left_behind(settings) >= told(process) > 5

"""One camera followed from its file to its events: how that ends is told, whatever ended it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventbus.events import Event, MotionDetectionEvent, decode
from orchestrator.app import Process, make_triton_client
from orchestrator.camera import Camera, CameraState
from orchestrator.inference.models import load_models
from orchestrator.replay import EventLines
from orchestrator.watch import CameraWatch
from tests.eventbus.until import until
from tests.faults.watching import triton_settings
from tests.servers.impostor import impostor
from tests.servers.synthetic import make_clip

PICTURES = 10
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Post:
    """A watch over cameras, and what it says; `on_event` sees each event before it is kept."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] = lambda _: None
        self.watch: CameraWatch

    def write(self, line: bytes) -> None:
        event = decode(line)
        self.on_event(event)
        self.events.append(event)

    @property
    def statuses(self) -> list[str]:
        return [event.status for event in self.events if event.event_type == "system.status"]

    @property
    def motion(self) -> list[MotionDetectionEvent]:
        return [event for event in self.events if isinstance(event, MotionDetectionEvent)]


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with impostor() as server:
        settings = triton_settings(server.url, timeout=60)
        capture = settings.capture.model_copy(update={"max_frame_age": 60.0})
        settings = settings.model_copy(update={"capture": capture})
        made = Post(Process.of(settings))
        client = make_triton_client(settings, made.process.metrics)
        made.watch = CameraWatch(
            settings,
            await load_models(client, settings),
            None,
            EventLines(made.write),
            board=made.process.board,
            metrics=made.process.metrics,
        )
        yield made
        await client.close()


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    clip = make_clip(tmp_path / "clip.mp4", pictures=PICTURES)
    return Camera.model_validate(
        {"camera_id": "door", "url": str(clip), "fps": 25.0, "pace": "fast"}
    )


async def test_a_file_is_watched_to_its_end_and_that_is_told(post: Post, camera: Camera) -> None:
    async with asyncio.timeout(60):
        await post.watch.follow(camera)
    assert len(post.motion) == PICTURES
    assert post.statuses == ["online", "ended"]
    (status,) = post.process.board.cameras()
    assert status.state is CameraState.ENDED
    assert (status.coverage.inspected, status.coverage.pending) == (PICTURES, 0)


async def test_a_camera_that_is_not_followed_any_more_is_not_shown(
    post: Post, camera: Camera
) -> None:
    begun = asyncio.Event()
    post.on_event = lambda _: begun.set()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(post.watch.follow(camera.model_copy(update={"loop": True})))
        await begun.wait()
        assert [status.camera_id for status in post.process.board.cameras()] == ["door"]
        following.cancel()
    assert post.process.board.cameras() == ()


async def test_a_bug_in_its_path_is_told_as_offline_with_an_alert(
    post: Post, camera: Camera
) -> None:
    def stumble(event: Event) -> None:
        if isinstance(event, MotionDetectionEvent):
            raise ZeroDivisionError("a bug")

    post.on_event = stumble
    async with asyncio.timeout(60):
        with pytest.raises(ZeroDivisionError):
            await post.watch.follow(camera)
    assert post.statuses == ["online", "offline"]
    assert post.events[-1].event_type == "alert.triggered"
    (status,) = post.process.board.cameras()
    assert status.state is CameraState.OFFLINE
    assert "log" in status.detail
    assert status.coverage.pending == 0


async def test_a_replay_tells_the_clips_own_time_and_leaves_nothing_out(
    post: Post, camera: Camera
) -> None:
    async with asyncio.timeout(60):
        await post.watch.replay(camera, NOON)
    assert [event.frame_number for event in post.motion] == list(range(1, PICTURES + 1))
    seconds = [(event.timestamp - NOON).total_seconds() for event in post.motion]
    assert seconds == pytest.approx([number / 25 for number in range(PICTURES)])


async def test_a_replay_that_is_broken_off_has_accounted_for_every_frame(
    post: Post, camera: Camera
) -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        replaying = tasks.create_task(post.watch.replay(camera, NOON))

        def break_off(_: Event) -> None:
            if len(post.events) == 2:
                replaying.cancel()

        post.on_event = break_off
    assert replaying.cancelled()
    assert [event.frame_number for event in post.motion][:3] == [1, 2, 3]
    (status,) = post.process.board.cameras()
    assert status.coverage.inspected == len(post.motion)
    assert status.coverage.pending == 0


async def test_a_clip_that_cannot_be_followed_is_tried_again_until_it_can(
    post: Post, camera: Camera, tmp_path: Path
) -> None:
    late = camera.model_copy(update={"url": type(camera.url)(str(tmp_path / "late.mp4"))})

    def arrive(event: Event) -> None:
        if event.event_type == "system.status" and event.status == "offline":
            (tmp_path / "clip.mp4").rename(tmp_path / "late.mp4")

    post.on_event = arrive
    async with asyncio.timeout(60):
        await post.watch.follow(late)
    assert post.statuses == ["offline", "online", "ended"]


async def test_a_camera_that_stays_lost_shows_why_it_is_lost_now(
    post: Post, camera: Camera, tmp_path: Path
) -> None:
    async def until_shown(words: str) -> None:
        await until(lambda: any(words in shown.detail for shown in post.process.board.cameras()))

    (tmp_path / "clip.mp4").unlink()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(post.watch.follow(camera))
        await until_shown("does not exist")
        (tmp_path / "clip.mp4").mkdir()
        await until_shown("is a folder")
        following.cancel()
    assert post.statuses == ["offline"]

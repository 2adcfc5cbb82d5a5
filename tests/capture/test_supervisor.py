"""Keeping a camera alive: reconnects with backoff, tells each change of state once, lets bugs through."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Self

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.camera import Camera, CameraState
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.supervisor import supervise
from orchestrator.errors import CameraStalled, CameraUnreachable
from orchestrator.frame import Frame
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture

LOST = CameraStalled("door", "sent nothing")
UNREACHABLE = CameraUnreachable("door", "refused the connection")
Script = Sequence[int | Exception]


def frame(number: int) -> Frame:
    picture = ArrayPicture(np.zeros((2, 2, 3), np.uint8))
    return Frame("door", number, picture, float(number), datetime.now(UTC), 0.0)


class Recording:
    """A FrameStream that plays a script: frame numbers, and an error at the end or none."""

    def __init__(self, script: Script) -> None:
        self._script = list(script)

    async def ready(self) -> bool:
        await asyncio.sleep(0)
        if self._script and isinstance(self._script[0], Exception):
            raise self._script[0]
        return bool(self._script)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        if not await self.ready():
            raise StopAsyncIteration
        number = self._script.pop(0)
        assert isinstance(number, int)
        return frame(number)


@dataclass
class Run:
    """A supervised camera: what it showed, what was told, how long it waited."""

    scripts: list[Script]
    seen: list[int] = field(default_factory=list)
    states: list[tuple[CameraState, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    now_s: float = 0.0
    seconds_a_frame: float = 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Recording]:
        yield Recording(self.scripts.pop(0))

    async def handle(self, frame: Frame) -> None:
        self.seen.append(frame.frame_number)
        self.now_s += self.seconds_a_frame

    def on_state(self, state: CameraState, detail: str) -> None:
        self.states.append((state, detail))

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    async def play(self, backoff: Backoff | None = None) -> Self:
        await supervise(
            Camera.model_validate({"camera_id": "door", "url": "rtsp://h/x"}),
            self.open,
            self.handle,
            on_state=self.on_state,
            on_reason=self.reasons.append,
            backoff=backoff or Backoff(),
            opening=asyncio.Semaphore(8),
            metrics=self.metrics,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )
        return self

    def told(self) -> list[CameraState]:
        return [state for state, _ in self.states]


async def test_a_lost_camera_is_reopened_and_keeps_delivering_frames() -> None:
    run = await Run([[1, 2, LOST], [3]]).play()
    assert run.seen == [1, 2, 3]


async def test_each_change_of_state_is_told_exactly_once() -> None:
    run = await Run([[1, LOST], [UNREACHABLE], [UNREACHABLE], [2, 3]]).play()
    assert run.told() == [
        CameraState.ONLINE,
        CameraState.OFFLINE,
        CameraState.ONLINE,
        CameraState.ENDED,
    ]
    assert run.states[1][1] == "sent nothing"


async def test_why_it_stays_lost_is_told_anew_at_each_failure() -> None:
    run = await Run([[1, LOST], [UNREACHABLE], [1]]).play()
    assert run.reasons == ["sent nothing", "refused the connection"]
    assert run.told().count(CameraState.OFFLINE) == 1


async def test_a_camera_that_never_answered_is_told_to_be_offline_once() -> None:
    run = await Run([[UNREACHABLE], [UNREACHABLE], [1]]).play()
    assert run.told() == [CameraState.OFFLINE, CameraState.ONLINE, CameraState.ENDED]


async def test_online_is_told_before_the_first_frame_is_handled() -> None:
    order: list[str] = []
    run = Run([[1]])

    async def on_state(state: CameraState, detail: str) -> None:
        order.append(state.value)

    async def handle(frame: Frame) -> None:
        order.append(f"frame {frame.frame_number}")

    run.on_state, run.handle = on_state, handle  # type: ignore[method-assign, assignment]
    await run.play()
    assert order == ["online", "frame 1", "ended"]


async def test_a_bug_is_not_mistaken_for_a_lost_camera() -> None:
    with pytest.raises(ZeroDivisionError):
        await Run([[1, ZeroDivisionError()]]).play()


async def test_losses_are_counted_by_their_cause() -> None:
    run = await Run([[1, LOST], [UNREACHABLE], [1]]).play()
    for cause in ("CameraStalled", "CameraUnreachable"):
        assert run.metrics.camera_losses.labels("door", cause)._value.get() == 1


async def test_the_gauges_say_which_cameras_deliver() -> None:
    run = Run([[1, LOST], [2]])
    shown: list[tuple[float, float]] = []

    def on_state(state: CameraState, detail: str) -> None:
        metrics = run.metrics
        online = metrics.camera_online.labels("door")._value.get()
        shown.append((metrics.active_cameras._value.get(), online))

    run.on_state = on_state  # type: ignore[method-assign]
    await run.play()
    assert shown == [(1, 1), (0, 0), (1, 1), (0, 0)]


async def test_removing_a_camera_takes_it_out_of_the_gauges() -> None:
    run = Run([[1]])
    entered = asyncio.Event()

    async def handle(frame: Frame) -> None:
        entered.set()
        await asyncio.Event().wait()

    run.handle = handle  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run.play())
        await entered.wait()
        assert run.metrics.active_cameras._value.get() == 1
        task.cancel()
    assert run.metrics.active_cameras._value.get() == 0


async def test_at_most_so_many_cameras_are_opened_at_once() -> None:
    opening, now, most = asyncio.Semaphore(8), 0, 0

    class Slow(Recording):
        opened = False

        async def ready(self) -> bool:
            nonlocal now, most
            if not self.opened:
                self.opened = True
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.01)
                now -= 1
            return await super().ready()

    @asynccontextmanager
    async def open_slowly() -> AsyncIterator[Recording]:
        yield Slow([1])

    async def handle(frame: Frame) -> None:
        await asyncio.sleep(0.01)

    metrics = Metrics(CollectorRegistry())
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            camera = Camera.model_validate({"camera_id": f"c{number}", "url": "rtsp://h/x"})
            tasks.create_task(
                supervise(
                    camera,
                    open_slowly,
                    handle,
                    on_state=lambda state, detail: None,
                    backoff=Backoff(),
                    opening=opening,
                    metrics=metrics,
                )
            )
    assert most == 8


async def test_a_camera_that_was_lost_lately_is_tried_often_and_later_seldom() -> None:
    run = await Run([[1, LOST], *[[UNREACHABLE]] * 1000, [2]]).play()
    reached = 0.0
    for wait in run.waits:
        assert wait <= (1.5 if reached < 900 else 30.0)
        reached += wait
    assert max(run.waits) > 15


async def test_a_wrong_password_is_not_tried_so_often_that_the_account_is_locked() -> None:
    refused = CameraUnreachable("door", "wrong password", lasting=True)
    run = await Run([*[[refused]] * 8, [1]]).play()
    assert run.waits[-1] >= 15
    assert all(b > a for a, b in pairwise([sum(run.waits[:4]), sum(run.waits[4:])]))


def test_a_night_offline_does_not_overflow_the_backoff() -> None:
    assert Backoff().delay_s(100_000, 1e6) <= 30.0


def test_the_backoff_is_jittered_so_that_cameras_do_not_come_back_in_step() -> None:
    backoff = Backoff()
    delays = {backoff.delay_s(3, 0.0) for _ in range(50)}
    assert len(delays) > 40
    assert all(0.75 <= delay <= 1.5 for delay in delays)


async def test_a_camera_that_comes_and_goes_for_hours_is_still_tried_often() -> None:
    flapping: list[Script] = [[number, LOST] for number in range(1, 2000)]
    run = Run([*flapping, [0]])
    run.seconds_a_frame = 3.0
    await run.play()
    assert run.now_s > 3600
    assert max(run.waits) <= 1.5


async def test_a_camera_that_stays_away_is_logged_once_a_minute_and_what_is_new_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Every failure costs about a second.
    await Run([[UNREACHABLE]] * 100 + [[LOST], [1]]).play(Backoff(0.5, 1.0))
    told = [record.message.partition(";")[0] for record in caplog.records]
    assert told == [str(UNREACHABLE)] * 2 + [str(LOST)]


async def test_what_led_to_a_loss_is_let_go_while_the_camera_waits() -> None:
    """The error's traceback holds the decoder and a picture; twelve of them were 150 MB."""
    lost = CameraStalled("door", "sent nothing")
    lost.__cause__ = ValueError("from the decoder")
    await Run([[1, lost], [2]]).play()
    held: list[object] = [lost.__traceback__, lost.__context__, lost.__cause__]
    assert held == [None, None, None]

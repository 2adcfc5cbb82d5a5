"""Keeps one camera alive: opens it, hands its frames on, and after a loss backs off and opens it again."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from orchestrator.camera import Camera, CameraState
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.handing import hand_on
from orchestrator.capture.stream import FrameStream
from orchestrator.errors import CameraError
from orchestrator.frame import Frame
from orchestrator.metrics import Metrics

log = logging.getLogger(__name__)

# A camera that stays away is tried about once a second: as many lines would bury everything else.
REMIND_S = 60.0

OnState = Callable[[CameraState, str], Awaitable[None] | None]
OpenFrames = Callable[[], AbstractAsyncContextManager[FrameStream]]


async def supervise(
    camera: Camera,
    open_frames: OpenFrames,
    handle: Callable[[Frame], Awaitable[None]],
    *,
    on_state: OnState,
    backoff: Backoff,
    opening: asyncio.Semaphore,
    metrics: Metrics,
    ahead: bool = False,
    on_reason: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Follow a camera until cancelled, or until its file has ended. A CameraError is survived, a bug is not.

    open_frames  gives the camera's stream; called anew after each loss
    on_state     told once when the first frame after a loss is there, and once when the camera is lost
    opening      shared by all cameras; held while one is opened, until its first frame or its failure
    on_reason    told at each failure why: a camera that stays lost may be lost for another reason by now
    """
    presence = _Presence(camera, on_state, metrics, clock)
    attempt, seen_s, trouble = 0, clock(), _Trouble(clock, metrics, on_reason)
    try:
        while True:
            try:
                return await _watch(open_frames, handle, ahead, presence, opening)
            except CameraError as error:
                lived_s = presence.online_for_s()
                attempt = 0 if lived_s >= backoff.healthy_after_s else attempt
                seen_s = clock() if lived_s > 0 else seen_s
                delay_s = backoff.delay_s(attempt, clock() - seen_s, lasting=error.lasting)
                attempt += 1
                await presence.set(CameraState.OFFLINE, error.reason)
                trouble.tell(error, delay_s)
                _let_go(error)
            await sleep(delay_s)
    finally:
        presence.leave()


def _let_go(error: CameraError) -> None:
    """Drop what led to the error: its frames hold the decoder and its last picture, in a circle with the error.

    Measured: 12 MB a loss until the cyclic collector happens to run (`python -m tests.performance memory`).
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None


async def _watch(
    open_frames: OpenFrames,
    handle: Callable[[Frame], Awaitable[None]],
    ahead: bool,
    presence: "_Presence",
    opening: asyncio.Semaphore,
) -> None:
    """Returns when the file has ended. Raises CameraError."""
    async with open_frames() as frames:
        async with opening:
            found = await frames.ready()
        if found:
            await presence.set(CameraState.ONLINE)
        await hand_on(frames, handle, ahead=ahead)
    await presence.set(CameraState.ENDED, "the file has ended")


class _Trouble:
    """Tells why a camera is lost. Logged is at once what is new, and what stays the same once a minute."""

    def __init__(
        self, clock: Callable[[], float], metrics: Metrics, on_reason: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._losses = metrics.camera_losses
        self._on_reason = on_reason
        self._said = ""
        self._again_s = 0.0

    def tell(self, error: CameraError, delay_s: float) -> None:
        self._losses.labels(error.camera_id, type(error).__name__).inc()
        self._on_reason(error.reason)
        is_news = str(error) != self._said or self._clock() >= self._again_s
        if is_news:
            self._said, self._again_s = str(error), self._clock() + REMIND_S
        level = logging.WARNING if is_news else logging.DEBUG
        log.log(level, "%s; trying again in %.1f s", error, delay_s)


class _Presence:
    """Tells each change of state once, and keeps the gauges in step with it."""

    def __init__(
        self, camera: Camera, on_state: OnState, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._on_state = on_state
        self._clock = clock
        self._active = metrics.active_cameras
        self._online = metrics.camera_online.labels(camera.camera_id)
        self._online.set(0)
        self._state = CameraState.CONNECTING
        self._since_s = clock()

    def online_for_s(self) -> float:
        """How long the camera has delivered; 0 while it does not."""
        return self._clock() - self._since_s if self._state is CameraState.ONLINE else 0.0

    async def set(self, state: CameraState, detail: str = "") -> None:
        if state is self._state:
            return
        self._count(state)
        told = self._on_state(state, detail)
        if inspect.isawaitable(told):
            await told

    def leave(self) -> None:
        """The camera is not followed any more."""
        self._count(CameraState.CONNECTING)

    def _count(self, state: CameraState) -> None:
        step = (state is CameraState.ONLINE) - (self._state is CameraState.ONLINE)
        self._active.inc(step)
        self._online.set(state is CameraState.ONLINE)
        self._state, self._since_s = state, self._clock()

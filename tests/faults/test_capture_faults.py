"""Faults 1, 2 and 7 at the camera's side: each loss is told once, nothing is lost silently, nothing hangs."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from orchestrator.camera import CameraState
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.stream import GRACE_S, SLACK_S, FrameStream
from orchestrator.capture.supervisor import supervise
from orchestrator.errors import CameraError, CameraUnreachable
from orchestrator.frame import Frame
from orchestrator.settings import CaptureSettings
from tests.capture.viewing import Viewing, numbers, view
from tests.faults.vitals import unharmed
from tests.servers.faulty_proxy import FaultyProxy
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import draw, make_clip

StartServer = Callable[..., RtspServer]
QUICK = CaptureSettings(connect_timeout=2, read_timeout=1)
rtsp = pytest.mark.xdist_group("rtsp")


@dataclass
class Watch:
    """A supervised camera and what it was told."""

    viewing: Viewing
    open: Callable[[], AbstractAsyncContextManager[FrameStream]]
    frames: list[Frame] = field(default_factory=list)
    states: list[CameraState] = field(default_factory=list)
    opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))

    async def handle(self, frame: Frame) -> None:
        self.viewing.ledger.inspected()
        self.frames.append(frame)

    async def run(self) -> None:
        await supervise(
            self.viewing.camera,
            self.open,
            self.handle,
            on_state=lambda state, detail: self.states.append(state),
            backoff=Backoff(base_s=0.2),
            opening=self.opening,
            metrics=self.viewing.metrics,
        )

    async def until(self, reached: Callable[[], bool], limit_s: float = 30.0) -> None:
        await come_true(reached, limit_s)


def watch(viewing: Viewing) -> Watch:
    return Watch(viewing, viewing.open)


async def come_true(reached: Callable[[], bool], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            if reached():
                return
            await asyncio.sleep(0.01)


# 1. A TCP reset in the middle of a group of pictures


@rtsp
async def test_a_reset_is_told_once_each_way_and_no_partial_picture_is_shown(
    rtsp_server: StartServer, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=50, gop=25)
    server = rtsp_server({"door": clip})
    async with FaultyProxy(server.port) as proxy, asyncio.TaskGroup() as tasks:
        watched = watch(view(f"rtsp://127.0.0.1:{proxy.port}/door", QUICK, fps=25))
        task = tasks.create_task(watched.run())
        for reset in range(1, 4):
            seen = len(watched.frames)
            await watched.until(lambda seen=seen: len(watched.frames) >= seen + 12)  # type: ignore[misc]
            proxy.reset()
            await watched.until(
                lambda reset=reset: watched.states.count(CameraState.ONLINE) == reset + 1  # type: ignore[misc]
            )
        await watched.until(lambda: len(watched.frames) > 40)
        task.cancel()

    assert watched.states == [
        *[CameraState.ONLINE, CameraState.OFFLINE] * 3,
        CameraState.ONLINE,
    ]
    for frame in watched.frames:
        picture = frame.picture.region(0, 0, 320, 240).astype(int)
        assert np.abs(picture - draw(numbers([frame])[0], 320, 240)).mean() < 8
    assert all(b.pts_s >= a.pts_s for a, b in pairwise(watched.frames))
    assert watched.viewing.pending == 0


@rtsp
async def test_a_camera_that_stalls_and_goes_on_is_seen_again(
    rtsp_server: StartServer, tmp_path: Path
) -> None:
    server = rtsp_server({"door": make_clip(tmp_path / "clip.mp4", pictures=50)})
    async with FaultyProxy(server.port) as proxy, asyncio.TaskGroup() as tasks:
        watched = watch(view(f"rtsp://127.0.0.1:{proxy.port}/door", QUICK, fps=25))
        task = tasks.create_task(watched.run())
        await watched.until(lambda: len(watched.frames) > 5)
        proxy.stall()
        await watched.until(lambda: CameraState.OFFLINE in watched.states)
        proxy.resume()
        await watched.until(lambda: watched.states.count(CameraState.ONLINE) == 2)
        task.cancel()
    assert watched.viewing.pending == 0


# 2. A camera that accepts and is silent

DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: str) -> None:
    """Speak RTSP until a method, and be silent from there on."""
    while True:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        method = request.split(" ", 1)[0]
        if method == until:
            await reader.read()  # until the other side gives up
            return
        sequence = next(line for line in request.splitlines() if line.startswith("CSeq"))
        head, body = "", ""
        if method == "OPTIONS":
            head = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = DESCRIPTION
            head = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            head = "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        writer.write(f"RTSP/1.0 200 OK\r\n{sequence}\r\n{head}\r\n{body}".encode())


@asynccontextmanager
async def silent_from(method: str) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer, method)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("method", ["OPTIONS", "SETUP", "PLAY", "nothing"])
async def test_a_silent_camera_is_given_up_in_time_and_leaves_no_thread(
    method: str, scheme: str
) -> None:
    if scheme == "http":
        method = "GET"
    settings = CaptureSettings(connect_timeout=0.4, read_timeout=0.4)
    longest_s = 0.0
    async with unharmed(), silent_from(method) as port:
        for _ in range(20 if method == "SETUP" else 3):
            watched = view(f"{scheme}://127.0.0.1:{port}/door", settings)
            began_s = time.monotonic()
            with pytest.raises(CameraError):
                await watched.collect(1)
            longest_s = max(longest_s, time.monotonic() - began_s)
            assert watched.pending == 0
    # The limit is timeout + 1 s; what is waited for a blocked thread comes after the failure is known.
    assert longest_s < 2 * 0.4 + SLACK_S + GRACE_S + 0.5


async def test_an_address_that_does_not_even_accept_is_given_up_in_time() -> None:
    """The queue of connections is full, so that the kernel answers nothing."""
    settings = CaptureSettings(connect_timeout=0.4, read_timeout=0.4)
    async with unharmed(), AsyncExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        began_s = time.monotonic()
        with pytest.raises(CameraUnreachable):
            await view(f"rtsp://127.0.0.1:{port}/door", settings).collect(1)
        assert time.monotonic() - began_s < 0.4 + 1.0 + GRACE_S


# 7. Many cameras come back at once


class Counted:
    """Counts how many streams are being opened at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def wrap(self, viewing: Viewing) -> Callable[[], AbstractAsyncContextManager[FrameStream]]:
        @asynccontextmanager
        async def open_counted() -> AsyncIterator[FrameStream]:
            async with viewing.open() as frames:
                yield _Opening(frames, self)

        return open_counted


class _Opening:
    def __init__(self, frames: FrameStream, counted: Counted) -> None:
        self._frames, self._counted, self._fresh = frames, counted, True

    async def ready(self) -> bool:
        if not self._fresh:
            return await self._frames.ready()
        self._fresh = False
        self._counted.now += 1
        self._counted.most = max(self._counted.most, self._counted.now)
        try:
            return await self._frames.ready()
        finally:
            self._counted.now -= 1

    def __aiter__(self) -> "_Opening":
        return self

    async def __anext__(self) -> Frame:
        return await self._frames.__anext__()


@rtsp
async def test_fifty_cameras_that_are_lost_together_come_back_eight_at_a_time(
    rtsp_server: StartServer, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", fps=2, pictures=20, gop=2, width=256, height=64)
    server = rtsp_server({"door": clip})
    counted, opening = Counted(), asyncio.Semaphore(8)
    settings = CaptureSettings(connect_timeout=10, read_timeout=10)
    async with (
        unharmed() as vitals,
        FaultyProxy(server.port) as proxy,
        asyncio.TaskGroup() as tasks,
    ):
        url = f"rtsp://127.0.0.1:{proxy.port}/door"
        watches = []
        for number in range(50):
            viewing = view(url, settings, camera_id=f"camera-{number}", fps=2)
            watches.append(Watch(viewing, counted.wrap(viewing), opening=opening))
        running = [tasks.create_task(each.run()) for each in watches]
        first = watches[0]
        await first.until(lambda: all(CameraState.ONLINE in w.states for w in watches), 60)
        vitals.beginning_here()
        await proxy.refuse()
        await first.until(lambda: all(CameraState.OFFLINE in w.states for w in watches), 60)
        await proxy.listen()
        await first.until(lambda: all(w.states.count(CameraState.ONLINE) == 2 for w in watches), 60)
        for task in running:
            task.cancel()

    assert counted.most <= 8
    for each in watches:
        assert each.states == [CameraState.ONLINE, CameraState.OFFLINE, CameraState.ONLINE]
        assert each.viewing.pending == 0

"""Capture against a real HTTP server: MJPEG as cameras send it, HLS, and playlists that mean harm."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import pytest
from aiohttp import web
from PIL import Image

from orchestrator.errors import CameraError, CameraStalled, CameraUnreachable, StreamEnded
from orchestrator.frame import Frame
from orchestrator.settings import CaptureSettings
from tests.capture.viewing import numbers, view
from tests.servers.synthetic import draw, make_clip


@asynccontextmanager
async def serving(routes: Sequence[web.AbstractRouteDef]) -> AsyncIterator[str]:
    """A server on a free port; yields its address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def jpeg(number: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(draw(number, 320, 240)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def mjpeg_camera(pictures: int, fps: float) -> web.RouteDef:
    """multipart/x-mixed-replace, then silence."""
    encoded = [jpeg(number) for number in range(pictures)]

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "multipart/x-mixed-replace"
        response.headers["Content-Type"] += "; boundary=frame"
        await response.prepare(request)
        for body in encoded:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            await response.write(head.encode() + body + b"\r\n")
            await asyncio.sleep(1 / fps)
        await asyncio.sleep(30)
        return response

    return web.get("/mjpeg", stream)


def hls(folder: Path, *, ended: bool) -> Sequence[web.AbstractRouteDef]:
    clip = make_clip(folder / "clip.mp4", pictures=100, gop=25)
    options = {"hls_time": "1", "hls_list_size": "0"}
    with (
        av.open(str(clip)) as source,
        av.open(str(folder / "live.m3u8"), "w", format="hls", options=options) as playlist,
    ):
        stream = playlist.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                playlist.mux(packet)
    if not ended:
        text = (folder / "live.m3u8").read_text()
        (folder / "live.m3u8").write_text(text.replace("#EXT-X-ENDLIST\n", ""))
    return [web.static("/", folder)]


async def test_mjpeg_is_timed_by_arrival_because_it_carries_no_times() -> None:
    """FFmpeg would call these ten a second twenty-five."""
    async with serving([mjpeg_camera(20, 10)]) as address:
        watched = view(f"{address}/mjpeg", fps=25)
        frames = await watched.collect(15)
    shown = numbers(frames)
    assert shown == sorted(shown)
    per_picture_s = (frames[-1].pts_s - frames[5].pts_s) / (shown[-1] - shown[5])
    assert 0.08 < per_picture_s < 0.2
    assert watched.pending == 0


async def test_a_recording_is_shown_at_its_own_speed_however_fast_it_comes(tmp_path: Path) -> None:
    make_clip(tmp_path / "door.mp4", pictures=50)
    async with serving([web.static("/", tmp_path)]) as address:
        frames: list[Frame] = []
        with pytest.raises(StreamEnded):
            await view(f"{address}/door.mp4", fps=5).collect(each=frames.append)
    assert numbers(frames) == list(range(0, 50, 5))
    assert frames[-1].received_s - frames[0].received_s > 1.5


async def test_an_mjpeg_camera_that_falls_silent_is_told() -> None:
    settings = CaptureSettings(connect_timeout=1, read_timeout=0.5)
    async with serving([mjpeg_camera(5, 25)]) as address:
        with pytest.raises(CameraStalled):
            await view(f"{address}/mjpeg", settings, fps=25).collect()


async def test_hls_is_shown_at_its_own_speed_although_it_comes_in_segments(tmp_path: Path) -> None:
    async with serving(hls(tmp_path, ended=False)) as address:
        watched = view(f"{address}/live.m3u8", fps=25)
        frames = await watched.collect(40)
    shown = numbers(frames)
    assert all(0 < b - a <= 10 for a, b in pairwise(shown))
    lags = [f.received_s - frames[0].received_s - (f.pts_s - frames[0].pts_s) for f in frames]
    assert min(lags) > -0.02
    assert watched.pending == 0


async def test_an_hls_recording_that_ends_is_a_stream_that_ended(tmp_path: Path) -> None:
    async with serving(hls(tmp_path, ended=True)) as address:
        with pytest.raises(StreamEnded):
            await view(f"{address}/live.m3u8", fps=25).collect(lossless=True)


@pytest.mark.parametrize(
    "segment", ["{path}", "file://{path}", "file:{path}", "concat:{path}|{path}"]
)
async def test_a_playlist_cannot_make_us_read_a_local_file(tmp_path: Path, segment: str) -> None:
    secret = make_clip(tmp_path / "secret.ts", pictures=25)
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"

    async def playlist(request: web.Request) -> web.Response:
        body = text.format(segment.format(path=secret))
        return web.Response(text=body, content_type="application/vnd.apple.mpegurl")

    settings = CaptureSettings(connect_timeout=2, read_timeout=2)
    async with serving([web.get("/evil.m3u8", playlist)]) as address:
        watched = view(f"{address}/evil.m3u8", settings)
        with pytest.raises(CameraError):
            await watched.collect(1)
    assert watched.ledger.coverage().decoded == 0


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "password"), (403, "403"), (404, "404"), (503, "server error")]
)
async def test_what_the_server_answers_is_told_in_words(status: int, reason: str) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving([web.get("/x", refuse)]) as address:
        with pytest.raises(CameraUnreachable, match=reason):
            await view(f"{address}/x").collect(1)


async def test_a_still_picture_is_not_a_camera_and_is_not_asked_for_again_and_again() -> None:
    async def still(request: web.Request) -> web.Response:
        return web.Response(body=jpeg(0), content_type="image/jpeg")

    async with serving([web.get("/snapshot.jpg", still)]) as address:
        with pytest.raises(CameraUnreachable, match="perhaps a still picture") as refused:
            await view(f"{address}/snapshot.jpg").collect(1)
    assert refused.value.lasting


async def test_a_server_that_does_not_encrypt_is_told_so() -> None:
    async with serving([mjpeg_camera(5, 25)]) as address:
        with pytest.raises(CameraUnreachable, match="that the camera encrypts"):
            await view(f"{address}/mjpeg".replace("http:", "https:")).collect(1)


async def test_a_web_page_is_not_a_camera() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>" + "<p>hello</p>" * 1000, content_type="text/html")

    async with serving([web.get("/", page)]) as address:
        with pytest.raises(CameraUnreachable, match="video"):
            await view(f"{address}/").collect(1)

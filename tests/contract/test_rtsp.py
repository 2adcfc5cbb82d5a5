"""Capture against a real RTSP server."""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.camera import CameraState
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.supervisor import supervise
from orchestrator.errors import CameraUnreachable, StreamEnded
from orchestrator.frame import Frame
from orchestrator.ledger import Skip
from orchestrator.settings import CaptureSettings
from tests.capture.viewing import Viewing, numbers, view
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import make_clip

pytestmark = pytest.mark.xdist_group("rtsp")

StartServer = Callable[..., RtspServer]
PASSWORD = "s3cr3t-geheim"


@pytest.fixture(scope="module")
def h264(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "h264.mp4", pictures=50, gop=25)


@pytest.fixture(scope="module")
def h265(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return make_clip(
        folder / "h265.mp4", codec="libx265", width=480, height=270, pictures=50, gop=25
    )


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_h264_comes_over_either_transport(
    rtsp_server: StartServer, h264: Path, transport: str
) -> None:
    server = rtsp_server({"door": h264})
    watched = view(server.url("door"), fps=5, transport=transport)

    frames = await watched.collect(8)

    shown = numbers(frames)
    assert all((b - a) % 50 in (4, 5, 6) for a, b in pairwise(shown))
    assert [b.pts_s - a.pts_s for a, b in pairwise(frames)] == pytest.approx([0.2] * 7, abs=0.06)
    assert watched.pending == 0


async def test_h265_comes_too(rtsp_server: StartServer, h265: Path) -> None:
    server = rtsp_server({"yard": h265})
    frames = await view(server.url("yard"), fps=25).collect(20)
    # What was sent while the codec was probed comes at once, and of that the newest is shown.
    assert all(0 < (b - a) % 50 < 25 for a, b in pairwise(numbers(frames)))
    assert frames[0].picture.width == 480


async def test_the_first_picture_does_not_wait_for_long_probing(
    rtsp_server: StartServer, h264: Path
) -> None:
    """FFmpeg's defaults take one to three seconds; this bound only proves that they are not in use."""
    server = rtsp_server({"door": h264})
    began_s = time.monotonic()
    await view(server.url("door")).collect(1)
    assert time.monotonic() - began_s < 2.5


async def test_a_password_lets_in_and_a_wrong_one_is_told_without_being_shown(
    rtsp_server: StartServer, h264: Path
) -> None:
    server = rtsp_server({"door": h264}, user="viewer", password=PASSWORD)

    frames = await view(server.url("door", f"viewer:{PASSWORD}")).collect(1)
    assert len(frames) == 1

    for credentials in ("", "viewer:wrong-geheim"):
        with pytest.raises(CameraUnreachable, match="user or password") as refused:
            await view(server.url("door", credentials)).collect(1)
        assert refused.value.lasting
        assert "geheim" not in str(refused.value)


async def test_no_credential_reaches_the_log_or_standard_error(
    rtsp_server: StartServer,
    h264: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    server = rtsp_server({"door": h264}, user="viewer", password="right")
    with pytest.raises(CameraUnreachable):
        await view(server.url("door", f"viewer:{PASSWORD}")).collect(1)
    server.stop()
    with pytest.raises(CameraUnreachable):
        await view(server.url("door", f"viewer:{PASSWORD}")).collect(1)
    shown = capfd.readouterr()
    assert PASSWORD not in caplog.text + shown.out + shown.err


async def test_a_path_that_does_not_exist_is_told(rtsp_server: StartServer, h264: Path) -> None:
    server = rtsp_server({"door": h264})
    with pytest.raises(CameraUnreachable, match="404"):
        await view(server.url("cellar")).collect(1)


async def test_a_port_where_nobody_listens_is_told(rtsp_server: StartServer, h264: Path) -> None:
    server = rtsp_server({"door": h264})
    server.stop()
    with pytest.raises(CameraUnreachable, match="refused the connection"):
        await view(server.url("door")).collect(1)


async def test_a_server_that_goes_away_ends_the_stream(
    rtsp_server: StartServer, h264: Path
) -> None:
    server = rtsp_server({"door": h264})
    watched = view(server.url("door"), fps=25)

    def power_cut(frame: Frame) -> None:
        if frame.frame_number >= 10:
            server.stop()

    with pytest.raises(StreamEnded):
        await watched.collect(each=power_cut)
    assert watched.pending == 0


async def test_a_camera_that_restarts_is_seen_again_even_with_another_codec(
    rtsp_server: StartServer, h264: Path, h265: Path
) -> None:
    """As when somebody changes the camera's settings: it restarts, and then sends H.265 in another size."""
    server = rtsp_server({"door": h264})
    watched = view(server.url("door"), CaptureSettings(connect_timeout=3, read_timeout=3), fps=25)
    states, frames = await follow(watched, server, {"door": h265}, until_width=480)

    assert states == [CameraState.ONLINE, CameraState.OFFLINE, CameraState.ONLINE]
    assert [f.frame_number for f in frames] == sorted({f.frame_number for f in frames})
    assert all(b.pts_s >= a.pts_s for a, b in pairwise(frames))
    assert watched.pending == 0
    assert watched.skipped(Skip.STALE) <= 2


async def follow(
    watched: Viewing, server: RtspServer, then: dict[str, Path], until_width: int
) -> tuple[list[CameraState], list[Frame]]:
    """Supervise a camera whose server is replaced after ten frames."""
    states: list[CameraState] = []
    frames: list[Frame] = []
    done = asyncio.Event()

    async def handle(frame: Frame) -> None:
        watched.ledger.inspected()
        frames.append(frame)
        if len(frames) == 10:
            server.stop()
            await asyncio.to_thread(server.start, then)
        if frame.picture.width == until_width:
            done.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            supervise(
                watched.camera,
                watched.open,
                handle,
                on_state=lambda state, detail: states.append(state),
                backoff=Backoff(base_s=0.2),
                opening=asyncio.Semaphore(8),
                metrics=watched.metrics,
            )
        )
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
    return states, frames

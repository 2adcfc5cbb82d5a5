"""Frames of one camera: sampled evenly, paced, repeatable, and every decoded one accounted for."""

import asyncio
import os
import random
import re
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from av.codec.hwaccel import hwdevices_available

from orchestrator.camera import CameraState
from orchestrator.capture.backoff import Backoff
from orchestrator.capture.reader import NICE
from orchestrator.capture.stream import GRACE_S
from orchestrator.capture.supervisor import supervise
from orchestrator.errors import CameraStalled, CameraUnreachable, StreamEnded
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.settings import CaptureSettings
from tests.capture.viewing import numbers, view
from tests.servers.synthetic import make_clip


def decode_threads() -> int:
    return sum(thread.name.startswith("decode:") for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("libx264", "mp4", "yuv420p"),
        ("libx264", "mkv", "yuv420p"),
        ("libx264", "ts", "yuv420p"),
        ("libx265", "mp4", "yuv420p"),
        ("mjpeg", "avi", "yuvj422p"),
    ],
)
async def test_every_picture_of_a_file_is_delivered_in_order(
    tmp_path: Path, codec: str, suffix: str, pix_fmt: str
) -> None:
    clip = make_clip(tmp_path / f"clip.{suffix}", codec=codec, pix_fmt=pix_fmt, pictures=30)
    watched = view(clip, fps=25, pace="fast")

    frames = await watched.collect()

    assert numbers(frames) == list(range(30))
    assert [frame.frame_number for frame in frames] == list(range(1, 31))
    assert watched.pending == 0


async def test_pictures_that_refer_to_later_ones_come_in_the_order_they_are_shown(
    tmp_path: Path,
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", b_frames=2, pictures=30)
    assert numbers(await view(clip, fps=25).collect(lossless=True)) == list(range(30))


async def test_30_a_second_sampled_to_5_gives_every_sixth_and_counts_the_others(
    tmp_path: Path,
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", fps=30, pictures=60)
    watched = view(clip, fps=5)

    frames = await watched.collect(lossless=True)

    assert numbers(frames) == list(range(0, 60, 6))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 5 for n in range(10)], abs=0.01)
    assert watched.skipped(Skip.SAMPLING) == 50
    assert watched.pending == 0


async def test_a_replay_gives_the_same_moments_each_time(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", fps=30, pictures=40)
    started_at = datetime(2024, 5, 1, 12, tzinfo=UTC)

    runs = [
        [(f.frame_number, f.pts_s, f.captured_at) for f in frames]
        for frames in [
            await view(clip).collect(lossless=True, started_at=started_at) for _ in range(2)
        ]
    ]

    assert runs[0] == runs[1]
    assert runs[0][0][2] == started_at
    assert runs[0][-1][2] - started_at == timedelta(seconds=runs[0][-1][1])


async def test_a_slow_reader_of_a_replay_loses_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=20)
    watched = view(clip, fps=25, settings=CaptureSettings(read_timeout=0.2))
    seen: list[Frame] = []
    async with watched.open(lossless=True) as frames:
        async for frame in frames:
            await asyncio.sleep(0.5 if len(seen) == 3 else 0)
            seen.append(frame)
            watched.ledger.inspected()
    assert numbers(seen) == list(range(20))


async def test_a_slow_reader_of_a_live_camera_gets_the_newest_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=25)
    watched = view(clip, fps=25)
    seen: list[Frame] = []
    async with watched.open() as frames:
        async for frame in frames:
            seen.append(frame)
            watched.ledger.inspected()
            await asyncio.sleep(0.2)

    shown = numbers(seen)
    assert 3 <= len(shown) <= 8
    assert all(b > a for a, b in pairwise(shown))
    assert watched.skipped(Skip.BUSY) == 25 - len(shown)
    assert watched.pending == 0


async def test_a_live_file_plays_at_its_own_speed(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=26)
    began_s = time.monotonic()
    frames = await view(clip, fps=25).collect()
    assert time.monotonic() - began_s >= 0.95
    lags = [f.received_s - frames[0].received_s - f.pts_s for f in frames]
    assert min(lags) > -0.01


async def test_a_looped_file_goes_on_without_a_seam(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=10)
    frames = await view(clip, fps=25, pace="fast", loop=True).collect(35)
    assert numbers(frames) == [n % 10 for n in range(35)]
    assert [f.pts_s for f in frames] == pytest.approx([n * 0.04 for n in range(35)], abs=0.005)


async def test_closing_early_leaves_nothing_unaccounted_and_no_thread(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=50)
    before = decode_threads()
    for lossless in (True, False):
        watched = view(clip, fps=25)
        await watched.collect(5, lossless=lossless)
        assert watched.pending == 0
    assert decode_threads() == before


async def test_a_stream_that_is_never_asked_opens_nothing(tmp_path: Path) -> None:
    watched = view(tmp_path / "missing.mp4")
    async with watched.open():
        pass
    assert watched.ledger.coverage().decoded == 0


async def test_a_camera_that_changes_its_resolution_goes_on(tmp_path: Path) -> None:
    """Two elementary streams one after the other: new parameter sets within the stream."""
    large = make_clip(tmp_path / "a.h264", width=640, height=480, pictures=10)
    small = make_clip(tmp_path / "b.h264", width=320, height=240, pictures=10, first=10)
    both = tmp_path / "both.h264"
    both.write_bytes(large.read_bytes() + small.read_bytes())

    frames = await view(both, fps=25).collect(lossless=True)

    assert numbers(frames) == list(range(20))
    assert {(f.picture.width, f.picture.height) for f in frames[:10]} == {(640, 480)}
    assert {(f.picture.width, f.picture.height) for f in frames[10:]} == {(320, 240)}


async def test_nothing_is_delivered_before_a_keyframe(tmp_path: Path) -> None:
    """The stream begins in the middle of a group of pictures."""
    whole = make_clip(tmp_path / "whole.h264", pictures=30, gop=10).read_bytes()
    units = [unit for unit in re.split(b"\x00?\x00\x00\x01", whole) if unit]
    parameter_sets = [unit for unit in units if unit[0] & 31 in (7, 8)][:2]
    fourth_slice = [n for n, unit in enumerate(units) if unit[0] & 31 == 1][3]
    cut = tmp_path / "cut.h264"
    cut.write_bytes(b"".join(b"\0\0\0\1" + u for u in parameter_sets + units[fourth_slice:]))
    watched = view(cut, fps=25)

    frames = await watched.collect(lossless=True)

    assert numbers(frames) == list(range(10, 30))
    assert watched.pending == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", b"", "video"),
        ("text.mp4", b"hello, I am not a video\n" * 500, "video"),
        ("page.html", b"<html>" + b"x" * 5000, "video"),
    ],
)
async def test_what_is_not_a_video_is_refused_with_the_mend(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraUnreachable, match=reason):
        await view(path).collect()


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraUnreachable):
        await view(tmp_path).collect()


async def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(CameraUnreachable, match="does not exist"):
        await view("/dev/video97").collect()


@pytest.mark.parametrize("url", ["ftp://host/clip.mp4", "gopher://x/y", "udp://127.0.0.1:1"])
async def test_a_scheme_that_is_not_supported_is_refused_for_good(url: str) -> None:
    with pytest.raises(CameraUnreachable, match="not supported") as refused:
        await view(url).collect()
    assert refused.value.lasting


@pytest.mark.parametrize("trick", ["concat:{clip}|{clip}", "subfile,,start,0,end,0,,:{clip}"])
async def test_a_files_name_cannot_smuggle_in_a_protocol(tmp_path: Path, trick: str) -> None:
    clip = make_clip(tmp_path / "clip.ts", pictures=5)
    with pytest.raises(CameraUnreachable):
        await view(trick.format(clip=clip)).collect()


async def test_a_file_of_another_kind_is_told_in_words_that_fit_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(random.Random(1).randbytes(20_000))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nclip.ts\n#EXT-X-ENDLIST\n")
    for name in ("clip.mp4", "list.m3u8"):
        with pytest.raises(CameraUnreachable, match="in a player to see what it is"):
            await view(tmp_path / name).collect()


async def test_a_playlist_on_disk_cannot_name_other_files(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", pictures=5)
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{clip.name}'\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(CameraUnreachable):
            await view(tmp_path / name).collect()


async def test_a_hardware_decoder_that_does_not_exist_is_named_in_the_mend(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=5)
    with pytest.raises(CameraUnreachable, match="CAPTURE_HWACCEL"):
        await view(clip, settings=CaptureSettings(hwaccel="abacus")).collect()


async def test_a_hardware_decoder_that_does_not_work_is_not_blamed_on_the_camera(
    tmp_path: Path,
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", pictures=5)
    if "cuda" not in hwdevices_available() or Path("/dev/nvidia0").exists():
        pytest.skip("needs an FFmpeg with CUDA on a machine without")
    with pytest.raises(CameraUnreachable, match="does not work on this machine"):
        await view(clip, settings=CaptureSettings(hwaccel="cuda")).collect()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
async def test_a_host_that_does_not_exist_is_told(scheme: str) -> None:
    with pytest.raises(CameraUnreachable, match="host name"):
        await view(f"{scheme}://camera.invalid/x").collect()


async def test_a_bug_in_the_decode_thread_is_raised_where_the_frames_are_awaited(
    tmp_path: Path,
) -> None:
    class Broken(CameraLedger):
        def decoded(self) -> int:
            raise ZeroDivisionError

    watched = view(make_clip(tmp_path / "clip.mp4", pictures=5))
    watched.ledger = Broken()
    with pytest.raises(ZeroDivisionError):
        await watched.collect()


async def test_a_camera_that_is_removed_while_it_is_announced_leaves_nothing_unaccounted(
    tmp_path: Path,
) -> None:
    watched = view(make_clip(tmp_path / "clip.mp4", pictures=100))
    announcing = asyncio.Event()

    async def announce(state: CameraState, detail: str) -> None:
        announcing.set()
        await asyncio.Event().wait()

    async def handle(frame: Frame) -> None:
        watched.ledger.inspected()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            supervise(
                watched.camera,
                watched.open,
                handle,
                on_state=announce,
                backoff=Backoff(),
                opening=asyncio.Semaphore(1),
                metrics=watched.metrics,
            )
        )
        await announcing.wait()
        task.cancel()
    assert watched.ledger.coverage().decoded > 0
    assert watched.pending == 0


async def test_a_file_that_holds_no_picture_does_not_loop_for_ever(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.h264", pictures=1)
    clip.write_bytes(clip.read_bytes()[:60])
    with pytest.raises((StreamEnded, CameraUnreachable)):
        await view(clip, loop=True).collect()


async def test_a_pipe_that_gives_nothing_is_given_up_although_the_read_is_blocked(
    tmp_path: Path,
) -> None:
    """Nothing can wake a thread that is blocked in a read; it is left behind, and ends when the read does."""
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    settings = CaptureSettings(connect_timeout=0.5, read_timeout=0.5)
    watched = view(pipe, settings=settings)
    before = decode_threads()
    began_s = time.monotonic()

    with pytest.raises((CameraUnreachable, CameraStalled)):
        await watched.collect()

    assert time.monotonic() - began_s < 0.5 + 1.0 + GRACE_S
    assert watched.counted("fess_decode_threads_abandoned_total") == 1
    os.close(writer)
    for _ in range(100):
        if decode_threads() == before:
            break
        await asyncio.sleep(0.05)
    assert decode_threads() == before
    assert watched.pending == 0


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives a thread a priority of its own"
)
async def test_decoding_steps_back_behind_the_loop(tmp_path: Path) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    niceness: set[int] = set()
    clip = make_clip(tmp_path / "clip.mp4", pictures=50)

    def note(_: Frame) -> None:
        threads = [t for t in threading.enumerate() if t.name == "decode:door"]
        niceness.update(os.getpriority(os.PRIO_PROCESS, t.native_id or 0) for t in threads)

    await view(clip, fps=25).collect(3, each=note)

    assert niceness == {min(usual + NICE, 19)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual

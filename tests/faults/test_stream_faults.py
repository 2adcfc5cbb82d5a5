"""Faults 3 to 6 at the camera's side: damaged streams, changes within the stream, times that jump."""

import ast
import random
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import orchestrator.capture
from orchestrator.capture.media_time import MAX_STEP_S
from orchestrator.errors import CameraError, StreamEnded
from orchestrator.frame import Frame
from orchestrator.ledger import Skip
from orchestrator.settings import CaptureSettings
from tests.capture.viewing import numbers, view
from tests.faults.vitals import unharmed
from tests.servers.synthetic import draw, make_clip, number_of

QUICK = CaptureSettings(connect_timeout=2, read_timeout=1)

# 3. Damaged streams


def mutate(data: bytes, seed: int) -> bytes:
    """Flip bits, cut pieces out, repeat some, or end too early."""
    chance = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        place = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[place] ^= 1 << chance.randrange(8)
            case 1:
                del damaged[place : place + chance.randint(1, 200)]
            case 2:
                damaged[place:place] = damaged[max(place - 100, 0) : place]
            case _:
                damaged[place : place + 16] = chance.randbytes(16)
    return bytes(damaged[: chance.randrange(len(damaged) // 2, len(damaged) + 1)])


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", "h264"), ("libx264", "ts"), ("libx265", "ts")]
)
async def test_a_thousand_damaged_streams_neither_crash_nor_hang_and_are_counted(
    tmp_path: Path, codec: str, suffix: str, part: int
) -> None:
    data = make_clip(tmp_path / f"clip.{suffix}", codec=codec, pictures=20, gop=10).read_bytes()
    errors = skipped = 0.0
    async with unharmed() as vitals:
        for number, seed in enumerate(range(part, 334, 2)):
            if number == 10:
                vitals.beginning_here()
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(mutate(data, seed))
            watched = view(path, QUICK, fps=25)
            try:
                for frame in await watched.collect(lossless=True):
                    frame.picture.luma(8)
                    frame.picture.rgb(64, 48)
                    frame.picture.region(0, 0, 32, 32)
            except CameraError:
                pass  # refused by name, as it should
            errors += watched.counted("fess_decode_errors_total")
            skipped += watched.skipped(Skip.ERROR)
            assert watched.pending == 0
    assert errors > 0
    assert skipped > 0


async def test_after_damage_the_next_keyframe_is_shown_whole(tmp_path: Path) -> None:
    data = bytearray(make_clip(tmp_path / "clip.h264", pictures=40, gop=10).read_bytes())
    keyframes = [
        n for n in range(len(data) - 4) if data[n : n + 3] == b"\0\0\1" and data[n + 3] & 31 == 5
    ]
    spoilt = keyframes[1]
    data[spoilt + 200 : spoilt + 1200] = random.Random(3).randbytes(1000)
    path = tmp_path / "damaged.h264"
    path.write_bytes(data)
    watched = view(path, fps=25)

    frames = await watched.collect(lossless=True)

    shown = numbers(frames)
    assert shown[:10] == list(range(10))
    assert shown[-20:] == list(range(20, 40))
    assert watched.counted("fess_decode_errors_total") > 0
    for frame, number in zip(frames, shown, strict=True):
        picture = frame.picture.region(0, 0, 320, 240).astype(int)
        assert np.abs(picture - draw(number, 320, 240)).mean() < 8


# 4. Resolution and codec change within the stream


async def test_1080p_then_720p_then_hevc_in_one_stream(tmp_path: Path) -> None:
    """A transport stream whose programme changes. FFmpeg's decoder follows the size; for another codec the
    camera is opened anew, as is told by the error.
    """
    parts = [
        make_clip(tmp_path / "a.ts", width=1920, height=1080, pictures=60),
        make_clip(tmp_path / "b.ts", width=1280, height=720, pictures=20, first=60),
        make_clip(tmp_path / "c.ts", codec="libx265", width=640, height=360, pictures=80),
    ]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    watched = view(path, QUICK, fps=25)
    sizes: dict[int, tuple[int, int]] = {}

    def look(frame: Frame) -> None:
        picture = frame.picture
        sizes[number_of(picture.luma(1))] = (picture.width, picture.height)
        assert picture.rgb(320, 180).shape == (180, 320, 3)
        assert picture.region(0, 0, 9999, 9999).shape == (picture.height, picture.width, 3)

    with pytest.raises(StreamEnded, match="can be decoded any more"):
        await watched.collect(lossless=True, each=look)

    # The last two of each part count as damaged: the stream's packets are not numbered on at the seam.
    assert [sizes.get(number) for number in range(58)] == [(1920, 1080)] * 58
    assert [sizes.get(number) for number in range(60, 78)] == [(1280, 720)] * 18
    assert watched.pending == 0


# 5. Timestamps that jump


@pytest.mark.parametrize("jump_s", [-30.0, 3600.0, 95443.0])
async def test_a_jump_of_the_timestamps_neither_stops_nor_reorders_the_frames(
    tmp_path: Path, jump_s: float
) -> None:
    """Backwards, an hour ahead, and just before the clock of a transport stream wraps."""
    parts = [
        make_clip(tmp_path / "a.ts", pictures=20, start_s=60.0),
        make_clip(tmp_path / "b.ts", pictures=20, first=20, start_s=60.8 + jump_s),
    ]
    path = tmp_path / "jump.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    watched = view(path, fps=25)
    began_s = time.monotonic()

    frames = await watched.collect()  # at its own speed: a jump must not be slept through

    assert time.monotonic() - began_s < 15
    shown = numbers(frames)
    assert shown == sorted(shown)
    assert shown[-1] == 39
    assert all(0 <= b.pts_s - a.pts_s <= MAX_STEP_S for a, b in pairwise(frames))
    assert frames[-1].pts_s < 4
    assert all(abs(f.captured_at.timestamp() - time.time()) < 30 for f in frames)
    assert watched.pending == 0


async def test_pictures_without_any_time_come_in_order_at_the_rate_that_the_stream_names(
    tmp_path: Path,
) -> None:
    """An elementary stream has no timestamps."""
    clip = make_clip(tmp_path / "clip.h264", pictures=50)
    frames = await view(clip, fps=25).collect(lossless=True)
    assert numbers(frames) == list(range(50))
    steps = [b.pts_s - a.pts_s for a, b in pairwise(frames)]
    assert steps == pytest.approx([0.04] * 49, abs=1e-6)


async def test_a_thousand_pictures_a_second_are_sampled_to_the_wanted_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", fps=1000, pictures=1000, width=256, height=64)
    frames = await view(clip, fps=5).collect(lossless=True)
    assert numbers(frames) == [0, 200, 400, 600, 800]


# 6. Steps of the wall clock


def test_only_the_moment_that_is_told_to_people_comes_from_the_wall_clock() -> None:
    """Everything that waits or measures uses the monotonic clock, which no step of the time of day moves."""
    wall: list[str] = []
    folder = Path(next(iter(orchestrator.capture.__path__)))
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow"):
                    wall.append(f"{path.name}: {name}")
    assert wall == ["reader.py: datetime.now"]

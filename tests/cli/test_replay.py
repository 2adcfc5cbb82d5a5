"""`fess replay`: a clip's events, every sampled frame of it, the same bytes each time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import av
import pytest

from orchestrator.embedded.triton import EmbeddedTriton
from tests.cli.conftest import Fess
from tests.servers.reading_model import write_reading_model
from tests.servers.synthetic import make_clip
from tests.servers.triton import StartTriton

pytestmark = pytest.mark.xdist_group("triton")

PICTURES = 50  # two seconds


@pytest.fixture
def reader(
    start_triton: StartTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> EmbeddedTriton:
    """A Triton that reads the numbers drawn in the clip, named by the environment."""
    server = start_triton(write_reading_model(tmp_path / "repository"))
    for name, value in {
        "TRITON_URL": server.grpc_url,
        "REDIS_HOST": "127.0.0.1",
        "FACES_ENABLED": "false",
        "MOTION_ENABLED": "false",
    }.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.mark.usefixtures("reader")
def test_a_clip_gives_its_events_and_a_video_the_same_every_time(
    fess: Fess, tmp_path: Path
) -> None:
    make_clip(tmp_path / "front door.mp4", pictures=PICTURES, first=1)
    for name in ("one", "two"):
        said = fess(
            *("replay", "front door.mp4", "--fps", "12.5", "--start", "2026-03-04T12:00:00"),
            *("--events", f"{name}.jsonl", "--video", f"{name}.mp4"),
        )
        assert said.code == 0, said
        assert said.out == ""
        assert "50 frames decoded, 25 inspected, skipped 25 sampling" in said.err
    first = (tmp_path / "one.jsonl").read_bytes()
    assert first == (tmp_path / "two.jsonl").read_bytes()
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()

    events = [json.loads(line) for line in first.splitlines()]
    assert [event["frame_number"] for event in events] == list(range(1, PICTURES, 2))
    # Each box says the number of the picture that it was found in.
    boxes = [event["detected_objects"][0]["bbox"] for event in events]
    assert [round(box["x1"]) for box in boxes] == list(range(1, PICTURES, 2))
    assert {event["camera_id"] for event in events} == {"front-door"}
    assert events[0]["timestamp"] == "2026-03-04T12:00:00.000000Z"
    with av.open(str(tmp_path / "one.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 25


@pytest.mark.usefixtures("reader")
def test_without_a_file_the_events_are_printed_and_nothing_else_is(
    fess: Fess, tmp_path: Path
) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=10, first=1)
    said = fess("replay", "clip.mp4", "--camera-id", "gate")
    assert said.code == 0, said
    assert [json.loads(line)["camera_id"] for line in said.out.splitlines()] == ["gate"] * 2


@pytest.mark.usefixtures("reader")
def test_a_disk_that_is_full_is_told_and_nothing_half_is_left(fess: Fess, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=10, first=1)
    (tmp_path / ".out.jsonl.part").symlink_to("/dev/full")
    said = fess("replay", "clip.mp4", "--events", "out.jsonl")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        "error: --events out.jsonl cannot be written: No space left on device"
    )
    assert not [path for path in tmp_path.iterdir() if "out.jsonl" in path.name]


@pytest.mark.usefixtures("reader")
def test_printed_events_that_nobody_can_take_are_told_unless_whoever_reads_has_read_enough(
    tmp_path: Path,
) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=50, first=1)

    def printed_to(pipe: IO[bytes] | int) -> tuple[int, str]:
        command = [sys.executable, "-m", "orchestrator.cli.main", "replay", "clip.mp4"]
        place = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        done = subprocess.run(
            command, cwd=tmp_path, env=place, stdout=pipe, stderr=subprocess.PIPE, check=False
        )
        return done.returncode, done.stderr.decode().splitlines()[-1]

    with Path("/dev/full").open("wb") as full:
        told = "error: the events cannot be printed: No space left on device"
        assert printed_to(full) == (1, told)
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "wb") as pipe:
        code, last = printed_to(pipe)
    assert (code, "Error" in last) == (0, False)

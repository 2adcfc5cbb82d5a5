"""`fess replay`: a clip's events, every sampled frame of it, the same bytes each time."""

import json
from pathlib import Path

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

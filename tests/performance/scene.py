"""Cameras that a section watches: sample footage behind a real RTSP server, and which camera shows what."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.performance.bench import Bench
from tests.performance.clips import FULL_HD, SMALL, Format, stream_of
from tests.performance.outcome import Lacking
from tests.servers.rtsp import RtspServer

FPS = 5.0
CLIP_S = 60.0
PEOPLE, ROAD = "one-by-one-person-detection.mp4", "car-detection.mp4"
# Every sampled frame is inspected: the dearest case.
PRODUCTION = {"ENVIRONMENT": "production", "MOTION_ENABLED": "false"}


def people_clip(bench: Bench) -> Path:
    """A small clip that shows somebody nearly all the time."""
    return stream_of(bench.sample(PEOPLE), bench.folder / "people-360p25.mp4", 60.0, SMALL, 8.0)


def scene(bench: Bench, count: int, form: Format = FULL_HD) -> dict[str, Path]:
    """Cameras and their clips: two of three see people, one sees a road and nobody."""
    clips = []
    for name in (PEOPLE, ROAD):
        target = bench.folder / f"{Path(name).stem}-{form.height}p25.mp4"
        if not target.is_file():
            bench.say(f"making {target.name} (once)")
        clips.append(stream_of(bench.sample(name), target, CLIP_S, form))
    return {f"camera-{number:02}": clips[number % 3 == 2] for number in range(count)}


@contextmanager
def rtsp_cameras(mounts: dict[str, Path]) -> Iterator[RtspServer]:
    """Raises Lacking."""
    server = RtspServer(mounts)
    try:
        try:
            server.start()
        except (OSError, RuntimeError) as error:
            raise Lacking(f"GStreamer's RTSP server: run `make system` ({error})") from error
        yield server
    finally:
        server.stop()


def addresses(server: RtspServer, mounts: dict[str, Path]) -> dict[str, dict[str, object]]:
    """As cameras.yaml names them."""
    return {name: {"url": server.url(name), "fps": FPS} for name in mounts}

"""One camera's bad day is its own: whatever happens to it, the others are inspected as was promised.

What is promised is counted in frames and not in seconds: of a clip of 25 pictures a second watched at
12.5, every second picture is taken, and at least 95 % of those are inspected.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from orchestrator.camera import Camera
from orchestrator.ledger import Coverage, Skip
from orchestrator.settings import CaptureSettings
from tests.faults.watching import (
    NumberedCamera,
    Watching,
    numbered_cameras,
    triton_settings,
    watching,
)
from tests.servers.faulty_proxy import FaultyProxy
from tests.servers.impostor import impostor
from tests.servers.reading_model import ROWS, answer_for, read
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import make_clip

CLIP_FPS, FPS = 25, 12.5
ENOUGH = 30  # inspected frames of each neighbour during a fault
BAD = "bad"
ELSEWHERE = 5000  # the first number that the bad camera shows

StartServer = Callable[..., RtspServer]


@dataclass
class Case:
    """Where the bad camera is, what is done to it, and what must be seen of it."""

    url: str
    happens: Callable[[Watching], bool]
    hurt: Callable[[], None] = lambda: None
    garbage: bool = False
    numbers: range = field(default_factory=lambda: range(ELSEWHERE, ELSEWHERE + 1000))


def losses(seen: Watching) -> float:
    return sum(
        sample.value
        for metric in seen.registry.collect()
        if metric.name == "fess_camera_losses"
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["camera_id"] == BAD
    )


def is_lost(seen: Watching) -> bool:
    return losses(seen) >= 2


def skips_damage(seen: Watching) -> bool:
    return seen.coverage[BAD].skipped[Skip.ERROR] > 0


def is_inspected(seen: Watching) -> bool:
    return seen.inspected(BAD) > 20


Prepare = Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[Case]]


@asynccontextmanager
async def reset(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    start: StartServer = request.getfixturevalue("rtsp_server")
    server = start({"door": make_clip(folder / "bad.mp4", first=ELSEWHERE)})
    async with FaultyProxy(server.port) as proxy:
        yield Case(f"rtsp://127.0.0.1:{proxy.port}/door", is_lost, proxy.reset)


@asynccontextmanager
async def silent(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield Case(f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/door", is_lost)
    finally:
        server.close()


@asynccontextmanager
async def absent(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    yield Case("rtsp://127.0.0.1:1/door", is_lost)


@asynccontextmanager
async def damaged(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    path = make_clip(folder / "bad.h264", pictures=100, gop=10, first=ELSEWHERE)
    data, chance = bytearray(path.read_bytes()), random.Random(5)
    for _ in range(60):
        place = chance.randrange(1000, len(data) - 16)
        data[place : place + 16] = chance.randbytes(16)
    path.write_bytes(data)
    yield Case(str(path), skips_damage)


@asynccontextmanager
async def turning(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    """Mounted wide, then upright."""
    wide = make_clip(folder / "wide.ts", width=640, height=360, pictures=25, first=ELSEWHERE)
    upright = make_clip(folder / "upright.ts", width=360, height=640, pictures=25, first=ELSEWHERE)
    path = folder / "bad.ts"
    path.write_bytes(wide.read_bytes() + upright.read_bytes())
    yield Case(str(path), lambda seen: reported_sizes(seen) == {(640, 360), (360, 640)})


@asynccontextmanager
async def jumping(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    starts = [60.0, 3700.0, 20.0, 95443.0]
    parts = [
        make_clip(folder / f"{start_s}.ts", pictures=12, first=ELSEWHERE, start_s=start_s)
        for start_s in starts
    ]
    path = folder / "bad.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    yield Case(str(path), is_inspected)


@asynccontextmanager
async def racing(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    clip = make_clip(folder / "bad.mp4", fps=1000, pictures=500, width=256, height=64)
    yield Case(str(clip), is_inspected, numbers=range(500))


@asynccontextmanager
async def nonsense(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    clip = make_clip(folder / "bad.mp4", first=ELSEWHERE)
    yield Case(str(clip), lambda seen: seen.failures("invalid") > 5, garbage=True)


CASES: list[Prepare | Any] = [
    pytest.param(reset, marks=pytest.mark.xdist_group("rtsp")),
    silent,
    absent,
    damaged,
    turning,
    jumping,
    racing,
    nonsense,
]


@pytest.mark.parametrize("prepare", CASES, ids=lambda case: case.__name__)
async def test_the_neighbours_of_a_bad_camera_are_inspected_as_promised(
    prepare: Prepare, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    neighbours = numbered_cameras(tmp_path, 2, fps=FPS)
    began = datetime.now(UTC)
    async with impostor() as server, prepare(tmp_path, request) as case:
        server.decide = partial(answer, case)
        bad = Camera(camera_id=BAD, url=SecretStr(case.url), fps=FPS, loop=is_file(case.url))
        everyone = [*neighbours, NumberedCamera(bad, ELSEWHERE)]
        async with watching(impatient(server.url), everyone) as seen:
            await seen.until(lambda: all(seen.inspected(f"camera{n}") > 5 for n in (0, 1)))
            seen.vitals.beginning_here()
            before = seen.coverage
            await during(case, seen, before)
            coverage = seen.coverage
    for one in neighbours:
        name = one.camera.camera_id
        assert_as_promised(coverage[name], before[name])
    boxes_lie_in_their_frames(seen)
    assert all(began <= event.timestamp <= datetime.now(UTC) for event in seen.motion)
    told = [event.status for event in seen.statuses_told if event.camera_id == BAD]
    assert all(a != b for a, b in pairwise(told))  # each change once
    assert seen.misplaced(BAD) == []


async def during(case: Case, seen: Watching, before: dict[str, Coverage]) -> None:
    """Until the fault has shown itself and its neighbours were inspected often enough meanwhile."""

    def done() -> bool:
        return case.happens(seen) and all(
            seen.inspected(f"camera{n}") >= before[f"camera{n}"].inspected + ENOUGH for n in (0, 1)
        )

    while not done():
        case.hurt()
        await asyncio.sleep(0.5)


def assert_as_promised(now: Coverage, before: Coverage) -> None:
    decoded = now.decoded - before.decoded
    inspected = now.inspected - before.inspected
    promised = decoded * FPS / CLIP_FPS
    assert inspected >= 0.95 * promised - 2, now  # two may be under way
    assert inspected <= 1.05 * promised + 2, now
    assert now.skipped[Skip.ERROR] == 0
    assert 0 <= now.pending <= 3


def answer(case: Case, picture: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    right = answer_for(picture, ROWS)
    if case.garbage and read(picture) in case.numbers:
        return right | {"boxes": np.full((1, ROWS, 4), np.nan, np.float32)}
    return right


def impatient(url: str) -> Any:
    """Silence is noticed soon, and a busy machine makes no frame stale."""
    settings = triton_settings(url, timeout=60.0)
    capture = CaptureSettings(max_frame_age=30.0, connect_timeout=0.5, read_timeout=0.5)
    return settings.model_copy(update={"capture": capture})


def is_file(url: str) -> bool:
    return "://" not in url


def reported_sizes(seen: Watching) -> set[tuple[int | None, int | None]]:
    return {
        (event.evidence.frame_width, event.evidence.frame_height)
        for event in seen.motion
        if event.camera_id == BAD and event.evidence
    }


def boxes_lie_in_their_frames(seen: Watching) -> None:
    for event in seen.motion:
        assert event.evidence is not None
        width, height = event.evidence.frame_width, event.evidence.frame_height
        assert width is not None
        assert height is not None
        for thing in event.detected_objects:
            assert 0 <= thing.bbox.x1 <= thing.bbox.x2 <= width
            assert 0 <= thing.bbox.y1 <= thing.bbox.y2 <= height

"""Triton absent, killed, hung and back: frames are skipped and counted, and no answer lands on another frame."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from orchestrator.app import make_triton_client
from orchestrator.camera import Camera
from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.loopback import free_ports
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import InferenceError, InferenceStale, InferenceUnavailable
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.ledger import Skip
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings
from tests.faults.watching import (
    RECOVERY_S,
    NumberedCamera,
    Watching,
    numbered_cameras,
    triton_settings,
    watching,
)
from tests.servers.impostor import impostor, one_box
from tests.servers.reading_model import ROWS, answer_for, read, write_reading_model
from tests.servers.triton import StartTriton

pytestmark = pytest.mark.xdist_group("triton")

# A server that hangs is left alone: the test itself lets it go on.
LEAVES_HANGING = Patience(misses=1000)
TINY = np.array([[1, 2, 3, 4]], np.int32)


@pytest.fixture
def reader(start_triton: StartTriton, tmp_path: Path) -> EmbeddedTriton:
    """A private Triton that reads the cameras' numbers, and comes back when it is killed."""
    repository = write_reading_model(tmp_path / "repository")
    return start_triton(repository, watch=True, patience=LEAVES_HANGING)


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[TritonClient]:
    client = make_triton_client(settings, Metrics(CollectorRegistry()))
    try:
        yield client
    finally:
        await client.close()


async def sums(
    client: TritonClient, model: ServedModel, digits: np.ndarray, within_s: float
) -> int:
    """Ask the model `tiny`; an answer that is not to this question fails the test."""
    tens, total = await client.infer(
        model, digits, ("tens", "sum"), deadline_s=time.monotonic() + within_s
    )
    assert np.array_equal(tens, digits * 10.0)
    assert total.tolist() == [[int(digits.sum())]]
    return len(tens)


async def test_requests_on_their_way_to_a_killed_server_fail_at_once(
    start_triton: StartTriton,
) -> None:
    server = start_triton()
    async with client_of(triton_settings(server.grpc_url, timeout=60.0)) as client:
        model = await client.describe("tiny")
        await sums(client, model, TINY, 60.0)
        await hang(server.pid)  # now they are certain to be on their way
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(_failure(sums(client, model, TINY, 60.0))) for _ in range(8)]
            await asyncio.sleep(0.3)
            os.kill(server.pid, signal.SIGKILL)
    assert {type(task.result()) for task in asked} == {InferenceUnavailable}


async def hang(pid: int) -> None:
    """Stop a process, and wait until each of its threads has stopped."""
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(RECOVERY_S):
        while not all(  # noqa: ASYNC110 - the kernel tells nobody
            stat.read_text().rpartition(")")[2].split()[0] == "T"
            for stat in Path(f"/proc/{pid}/task").glob("*/stat")
        ):
            await asyncio.sleep(0.01)


async def _failure(asking: Coroutine[None, None, int]) -> InferenceError | None:
    try:
        await asking
    except InferenceError as error:
        return error
    return None


async def answered(client: TritonClient, model: ServedModel) -> None:
    """Wait until the server answers again."""
    async with asyncio.timeout(RECOVERY_S):
        while await _failure(sums(client, model, TINY, 5.0)) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_requests_to_a_server_that_hangs_are_given_up_at_their_deadline(
    start_triton: StartTriton,
) -> None:
    server = start_triton()
    async with client_of(triton_settings(server.grpc_url)) as client:
        model = await client.describe("tiny")
        await sums(client, model, TINY, 60.0)
        await hang(server.pid)
        try:
            began_s = time.monotonic()
            with pytest.raises(InferenceStale):
                await sums(client, model, TINY, 0.3)
            assert time.monotonic() - began_s < 10
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await answered(client, model)


async def test_no_answer_is_ever_given_to_another_request_while_the_server_is_killed_and_hung(
    start_triton: StartTriton,
) -> None:
    server = start_triton(watch=True, patience=LEAVES_HANGING)
    answered = 0

    async def ask_on(client: TritonClient, model: ServedModel, seed: int) -> None:
        nonlocal answered
        chance = random.Random(seed)
        while True:
            digits = np.array([[chance.randrange(10) for _ in range(4)]], np.int32)
            try:
                answered += await sums(client, model, digits, chance.uniform(0.005, 0.5))
            except InferenceError:
                await asyncio.sleep(0.01)

    async def answers(more: int) -> None:
        goal = answered + more
        async with asyncio.timeout(RECOVERY_S):
            while answered < goal:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with client_of(triton_settings(server.grpc_url)) as client:
        model = await client.describe("tiny")
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(ask_on(client, model, seed)) for seed in range(16)]
            await answers(200)
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            os.kill(server.pid, signal.SIGCONT)
            await answers(200)
            os.kill(server.pid, signal.SIGKILL)
            await answers(200)
            for task in asking:
                task.cancel()


async def test_a_killed_server_costs_frames_that_are_counted_and_detections_resume(
    reader: EmbeddedTriton, tmp_path: Path
) -> None:
    settings = triton_settings(reader.grpc_url)
    async with watching(settings, numbered_cameras(tmp_path, 3)) as seen:
        await seen.until_all_see()
        os.kill(reader.pid, signal.SIGKILL)
        await seen.until(lambda: seen.breaker_is_open)
        await seen.until(lambda: seen.skipped(Skip.ERROR) > 5)
        assert seen.failures("unavailable") > 0
        await seen.until_all_see()
        assert not seen.breaker_is_open
        assert not seen.lost
    assert seen.misplaced() == []
    assert reported_once(seen)


async def test_a_server_that_hangs_costs_frames_that_are_counted_and_detections_resume(
    reader: EmbeddedTriton, tmp_path: Path
) -> None:
    settings = triton_settings(reader.grpc_url)
    async with watching(settings, numbered_cameras(tmp_path, 3)) as seen:
        await seen.until_all_see()
        os.kill(reader.pid, signal.SIGSTOP)
        try:
            await seen.until(lambda: seen.breaker_is_open)
            assert seen.skipped(Skip.STALE) > 0
            inspected = sum(coverage.inspected for coverage in seen.coverage.values())
            await seen.until(lambda: seen.skipped(Skip.ERROR) > 5)
            assert sum(c.inspected for c in seen.coverage.values()) == inspected
        finally:
            os.kill(reader.pid, signal.SIGCONT)
        await seen.until_all_see()
        assert not seen.breaker_is_open
        assert not seen.lost
    assert seen.misplaced() == []
    assert reported_once(seen)


async def test_people_are_found_again_once_a_killed_server_is_back(
    start_triton: StartTriton, served_models: Path, clips: Path
) -> None:
    server = start_triton(served_models, watch=True)
    clip = clips / "face_brother.mkv"
    camera = Camera(camera_id="door", url=SecretStr(str(clip)), fps=5.0, loop=True)
    settings = triton_settings(server.grpc_url)
    async with watching(settings, [NumberedCamera(camera, 0)]) as seen:
        await seen.until(lambda: len(seen.motion) > 2)
        os.kill(server.pid, signal.SIGKILL)
        await seen.until(lambda: seen.breaker_is_open)
        reported = len(seen.motion)
        await seen.until(lambda: len(seen.motion) > reported + 2)
        assert not seen.breaker_is_open
    found = {thing.object_class for event in seen.motion for thing in event.detected_objects}
    assert found == {"person"}
    assert reported_once(seen)


async def test_a_server_that_is_absent_is_waited_for_and_so_is_one_that_leaves(
    tmp_path: Path,
) -> None:
    (port,) = free_ports(1)
    settings = triton_settings(f"127.0.0.1:{port}")
    async with watching(settings, numbered_cameras(tmp_path, 2)) as seen:
        await asyncio.sleep(0.3)
        assert not seen.coverage
        for _ in range(2):
            async with impostor(port) as server:
                server.decide = partial(answer_for, rows=ROWS)
                await seen.until_all_see()
            await seen.until(lambda: seen.breaker_is_open)
        assert not seen.lost
    assert seen.misplaced() == []
    assert reported_once(seen)


async def test_a_slow_server_is_asked_no_more_than_allowed_and_gets_fresh_frames_only(
    tmp_path: Path,
) -> None:
    """Six cameras ask for 75 answers a second, and get ten."""
    async with impostor() as server:
        server.decide = partial(answer_for, rows=ROWS)
        server.delay_s = 0.2
        settings = triton_settings(server.url, max_in_flight=2)
        async with watching(settings, numbered_cameras(tmp_path, 6)) as seen:
            await seen.until(lambda: len(seen.motion) > 5)
            before_bytes = psutil.Process().memory_info().rss
            await seen.until(lambda: len(seen.motion) > 30)
            grown_bytes = psutil.Process().memory_info().rss - before_bytes
            assert seen.skipped(Skip.BUSY) + seen.skipped(Skip.STALE) > 30
            # Busy is not down; and what it works on is not in vain.
            assert seen.skipped(Skip.ERROR) == 0
            assert len(seen.motion) > server.requests / 2
            assert not seen.lost
    assert server.most_at_once == 2
    assert grown_bytes < 50e6
    # What was answered in time may have waited a little for this machine's processor.
    assert max(ages_s(seen)) < settings.capture.max_frame_age + 0.5
    assert seen.misplaced() == []


async def test_answers_that_always_come_too_late_are_never_used(tmp_path: Path) -> None:
    async with impostor() as server:
        server.decide = partial(answer_for, rows=ROWS)
        server.delay_s = 1.0
        async with watching(triton_settings(server.url), numbered_cameras(tmp_path, 2)) as seen:
            await seen.until(lambda: seen.breaker_is_open)
            assert seen.motion == []
            assert all(coverage.inspected == 0 for coverage in seen.coverage.values())
            server.delay_s = 0.0
            await seen.until_all_see()
    assert seen.misplaced() == []


def ages_s(seen: Watching) -> list[float]:
    """How old each reported frame was when its detections were there."""
    latencies = [event.evidence.latencies for event in seen.motion if event.evidence]
    return [each.detection_ms / 1000 for each in latencies if each and each.detection_ms]


GARBAGE: dict[str, dict[str, NDArray[Any]]] = {
    "NaN": one_box() | {"boxes": np.full((1, ROWS, 4), np.nan, np.float32)},
    "infinite scores": one_box() | {"scores": np.full((1, ROWS), np.inf, np.float32)},
    "ten thousand boxes": one_box()
    | {
        "count": np.full((1, 1), 10_000, np.int32),
        "boxes": np.ones((1, 10_000, 4), np.float32),
        "scores": np.ones((1, 10_000), np.float32),
        "labels": np.zeros((1, 10_000), np.int32),
    },
    "a wrong shape": one_box() | {"boxes": np.zeros((1, 4, ROWS), np.float32)},
    "a missing output": {"count": np.ones((1, 1), np.int32)},
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_for_one_camera_is_counted_and_the_others_do_not_notice(
    tmp_path: Path, garbage: dict[str, NDArray[Any]]
) -> None:
    cameras = numbered_cameras(tmp_path, 3)
    bad = cameras[1]

    def answer(picture: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return garbage if read(picture) in bad.numbers else answer_for(picture, ROWS)

    async with impostor() as server:
        server.decide = answer
        async with watching(triton_settings(server.url), cameras) as seen:
            await seen.until(lambda: seen.failures("invalid") > 5)
            await seen.until(lambda: all(seen.inspected(f"camera{n}") > 5 for n in (0, 2)))
            coverage = seen.coverage
            assert not seen.breaker_is_open
            assert not seen.lost
    assert coverage["camera1"].inspected == 0
    assert coverage["camera1"].skipped[Skip.ERROR] > 5
    assert [coverage[f"camera{n}"].skipped[Skip.ERROR] for n in (0, 2)] == [0, 0]
    assert {event.camera_id for event in seen.motion} == {"camera0", "camera2"}
    assert seen.misplaced() == []


def reported_once(seen: Watching) -> bool:
    """No frame is reported twice, and each camera's frames in their order."""
    frames = {
        one.camera.camera_id: [
            event.frame_number for event in seen.motion if event.camera_id == one.camera.camera_id
        ]
        for one in seen.cameras
    }
    return all(frames) and all(numbers == sorted(set(numbers)) for numbers in frames.values())

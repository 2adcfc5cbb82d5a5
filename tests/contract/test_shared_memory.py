"""Pixels go to a real Triton through shared memory where it can open it, and nobody notices but the processor."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import service_pb2, service_pb2_grpc

from orchestrator.app import make_triton_client
from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import InferenceError, InferenceStale, InferenceUnavailable
from orchestrator.inference.models import Models, load_models
from orchestrator.inference.shared_memory import FOLDER
from orchestrator.inference.sharing_notes import PREFIX
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture
from orchestrator.settings import Settings, TritonSettings
from tests.export.footage import FACE_CLIPS, PEOPLE_CLIP, pictures
from tests.servers.impostor import impostor
from tests.servers.require import lacking
from tests.servers.triton import StartTriton

pytestmark = pytest.mark.xdist_group("triton")

NewRegions = Callable[[], Awaitable[list[str]]]

PATIENCE_S = 60.0  # the machine is shared
DIGITS = np.array([[1, 2, 3, 4]], np.int32)


class Bench:
    """A client, and what it says of itself."""

    def __init__(self, client: TritonClient, registry: CollectorRegistry) -> None:
        self.client = client
        self._registry = registry

    def sample(self, name: str, **labels: str) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0

    @property
    def shares(self) -> bool:
        return self.sample("fess_inference_shared_memory") == 1

    @property
    def held(self) -> float:
        return self.sample("fess_inference_slots_held")

    def plain(self, cause: str) -> float:
        return self.sample("fess_inference_plain_total", cause=cause)

    async def embed(self, crops: int = 1) -> None:
        model = await self.client.describe("face_embedder")
        given = np.full((crops, 112, 112, 3), 7, np.uint8)
        soon_s = time.monotonic() + PATIENCE_S
        (found,) = await self.client.infer(model, given, ("embedding",), deadline_s=soon_s)
        assert len(found) == crops

    async def sum(self, model: ServedModel, digits: np.ndarray, within_s: float) -> int:
        (total,) = await self.client.infer(
            model, digits, ("sum",), deadline_s=time.monotonic() + within_s
        )
        return int(total.sum())


@asynccontextmanager
async def bench_of(url: str, state_dir: Path, **triton: object) -> AsyncIterator[Bench]:
    registry = CollectorRegistry()
    wanted = {"url": url, "timeout": PATIENCE_S, **triton}
    settings = Settings(state_dir=state_dir, triton=TritonSettings.model_validate(wanted))
    client = make_triton_client(settings, Metrics(registry))
    try:
        yield Bench(client, registry)
    finally:
        await client.close()


async def regions(url: str) -> list[str]:
    """What Triton holds of ours."""
    async with grpc.aio.insecure_channel(url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = await stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
        return sorted(name for name in answer.regions if name.startswith(PREFIX))


@pytest.fixture
async def new_regions(triton: EmbeddedTriton) -> NewRegions:
    """Those that the shared Triton did not hold before the test: a machine that was too busy may have left some."""
    before = await regions(triton.grpc_url)

    async def new() -> list[str]:
        return [name for name in await regions(triton.grpc_url) if name not in before]

    return new


def names_in_memory() -> list[str]:
    return [path.name for path in FOLDER.glob(f"{PREFIX}*")]


def notes(state_dir: Path) -> list[Path]:
    return list((state_dir / "shared_memory").glob("*"))


@contextmanager
def sharer(url: str, state_dir: Path, *before: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of its own that has asked once; and what it said."""
    command = [*before, sys.executable, "-m", "tests.servers.sharer", url, str(state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def footage(clips: Path) -> list[ArrayPicture]:
    """Nobody, people, faces; cut to several sizes and shapes."""
    people = pictures(clips / PEOPLE_CLIP, [0, 60, 80, 100, 120, 150, 300, 420])
    faces = [rgb for clip in FACE_CLIPS for rgb in pictures(clips / clip, [5, 40])]
    cut = [people[3][:, 100:500], people[4][40:, :], faces[0][:300]]
    return [ArrayPicture(np.ascontiguousarray(rgb)) for rgb in [*people, *faces, *cut]]


async def everything_found(models: Models, footage: Sequence[ArrayPicture]) -> list[bytes]:
    """Detections, faces and embeddings of every picture, to the last bit."""
    found = []
    assert models.faces is not None
    for picture in footage:
        soon_s = time.monotonic() + PATIENCE_S
        things = await models.detector.detect(picture, deadline_s=soon_s)
        whole = (0, 0, picture.width, picture.height)
        faces = await models.faces.detector.detect(picture, whole, deadline_s=soon_s)
        crops = np.stack([picture.rgb(112, 112)] * 3)
        vectors = await models.faces.embedder.embed(crops, deadline_s=soon_s)
        arrays = [things.xyxy, things.confidence, things.class_id, faces.xyxy, faces.landmarks]
        arrays += [faces.confidence, vectors.vectors]
        found.append(b"|".join(array.tobytes() for array in arrays))
    return found


async def test_what_is_found_is_the_same_to_the_last_bit_whichever_way_the_pixels_went(
    triton: EmbeddedTriton, tmp_path: Path, footage: list[ArrayPicture]
) -> None:
    found = {}
    for mode in ("off", "on"):
        async with bench_of(triton.grpc_url, tmp_path, shared_memory=mode) as bench:
            models = await load_models(bench.client, Settings())
            found[mode] = await everything_found(models, footage)
            assert bench.shares == (mode == "on")
            assert bench.plain("unshared") + bench.plain("no_slot") == 0
    assert found["on"] == found["off"]
    assert len(set(found["on"])) == len(footage)


async def test_nothing_of_it_can_be_opened_by_name_and_triton_keeps_nothing_afterwards(
    triton: EmbeddedTriton, tmp_path: Path, new_regions: NewRegions
) -> None:
    async with bench_of(triton.grpc_url, tmp_path) as bench:
        await bench.embed()
        assert bench.shares
        (region,) = await new_regions()
        assert region not in names_in_memory()
        assert len(notes(tmp_path)) == 1
    assert await new_regions() == []
    assert notes(tmp_path) == []


async def test_each_process_has_its_own_and_is_not_taken_for_dead_by_the_next(
    triton: EmbeddedTriton, tmp_path: Path, new_regions: NewRegions
) -> None:
    async with bench_of(triton.grpc_url, tmp_path) as bench:
        await bench.embed()
        with (
            sharer(triton.grpc_url, tmp_path) as (_, one),
            sharer(triton.grpc_url, tmp_path) as (_, other),
        ):
            assert (one, other) == ("1.0", "1.0")
            assert len(await new_regions()) == 3
        await bench.embed()
        assert bench.plain("unshared") + bench.plain("no_slot") == 0


async def test_a_killed_process_leaves_nothing_in_memory_and_the_next_start_clears_its_registration(
    triton: EmbeddedTriton, tmp_path: Path, new_regions: NewRegions
) -> None:
    before = names_in_memory()
    with sharer(triton.grpc_url, tmp_path) as (process, shares):
        assert shares == "1.0"
        process.kill()
        process.wait()
    assert names_in_memory() == before
    (left,) = await new_regions()
    async with bench_of(triton.grpc_url, tmp_path) as bench:
        await bench.embed()
        (ours,) = await new_regions()
        assert ours != left
    assert await new_regions() == []
    assert notes(tmp_path) == []


async def test_where_triton_sees_another_memory_pixels_go_over_grpc(
    triton: EmbeddedTriton, tmp_path: Path, elsewhere: Sequence[str], new_regions: NewRegions
) -> None:
    with sharer(triton.grpc_url, tmp_path, *elsewhere) as (_, shares):
        assert shares == "0.0"
    assert await new_regions() == []


@pytest.fixture
def elsewhere() -> list[str]:
    """What begins a command that has a /dev/shm of its own, as a container has."""
    script = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
    command = [shutil.which("unshare") or "false", "-m", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        lacking("unshare", "making a mount namespace is not allowed here")
    return command


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - a metric tells nobody when it changes
            await asyncio.sleep(0.02)


async def test_a_request_that_was_given_up_keeps_turn_and_slot_until_triton_has_answered_it(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    server = start_triton()
    async with bench_of(server.grpc_url, tmp_path / "ours", max_in_flight=2) as bench:
        model = await bench.client.describe("tiny")
        await bench.sum(model, DIGITS, PATIENCE_S)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(InferenceStale):
                await bench.sum(model, DIGITS, 0.3)
            assert bench.held == 1
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(bench.sum(model, DIGITS + 1, PATIENCE_S))
                await asyncio.sleep(0.3)
                asked.cancel()
            assert bench.held == 2
            with pytest.raises(InferenceStale, match="already on their way"):
                await bench.sum(model, DIGITS + 2, 0.3)
            async with asyncio.TaskGroup() as tasks:
                asked = tasks.create_task(bench.sum(model, DIGITS + 2, PATIENCE_S))
                os.kill(server.pid, signal.SIGCONT)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert asked.result() == 18
        await until(lambda: bench.held == 0)
        assert await bench.sum(model, DIGITS, PATIENCE_S) == 10
        assert bench.plain("no_slot") == 0


async def test_triton_killed_and_back_gets_new_memory_and_no_request_after_that_is_lost(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    server = start_triton(watch=True)
    before = names_in_memory()
    async with bench_of(server.grpc_url, tmp_path / "ours") as bench:
        model = await bench.client.describe("tiny")
        await bench.sum(model, DIGITS, PATIENCE_S)
        (first,) = await regions(server.grpc_url)
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        # Nothing is asked meanwhile, so that the client learns of it from the new server alone.
        await until(lambda: server.pid != killed)
        async with asyncio.timeout(PATIENCE_S):
            while not await ready(bench.client):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for more in range(5):
            assert await bench.sum(model, DIGITS + more, PATIENCE_S) == 10 + 4 * more
        assert bench.shares
        assert bench.plain("unshared") + bench.plain("no_slot") == 0
        (second,) = await regions(server.grpc_url)
        assert second != first
        assert names_in_memory() == before


async def test_what_was_on_its_way_to_a_killed_triton_is_lost_and_nothing_else(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    server = start_triton(watch=True, patience=Patience(misses=1000))
    async with bench_of(server.grpc_url, tmp_path / "ours", max_in_flight=4) as bench:
        model = await bench.client.describe("tiny")
        await bench.sum(model, DIGITS, PATIENCE_S)
        (first,) = await regions(server.grpc_url)
        killed = server.pid
        os.kill(killed, signal.SIGSTOP)  # now they are certain to be on their way
        async with asyncio.TaskGroup() as tasks:
            given_up = tasks.create_task(failure(bench.sum(model, DIGITS, 0.3)))
            waiting = [
                tasks.create_task(failure(bench.sum(model, DIGITS, PATIENCE_S))) for _ in range(2)
            ]
            await until(lambda: bench.held == 1)
            os.kill(killed, signal.SIGKILL)
        assert given_up.result() is InferenceStale
        assert [task.result() for task in waiting] == [InferenceUnavailable] * 2
        assert bench.held == 0
        assert not bench.shares
        async with asyncio.timeout(PATIENCE_S):
            while server.pid == killed or not await ready(bench.client):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await bench.sum(model, DIGITS, PATIENCE_S) == 10
        await until(lambda: bench.shares)
        (second,) = await regions(server.grpc_url)
        assert second != first
    assert notes(tmp_path / "ours") == []


async def failure(asking: Coroutine[None, None, int]) -> type[InferenceError] | None:
    try:
        await asking
    except InferenceError as error:
        return type(error)
    return None


async def ready(client: TritonClient) -> bool:
    try:
        await client.check()
    except InferenceUnavailable:
        return False
    return True


async def test_tensors_that_outgrow_their_slots_get_larger_ones(
    triton: EmbeddedTriton, tmp_path: Path, new_regions: NewRegions
) -> None:
    async with bench_of(triton.grpc_url, tmp_path) as bench:
        seen = []
        for crops in (1, 8, 1):
            await bench.embed(crops)
            seen.append(await new_regions())
        assert [len(names) for names in seen] == [1, 1, 1]
        assert seen[0] != seen[1] == seen[2]
        assert bench.plain("no_slot") == 0


async def test_a_server_that_shares_nothing_is_asked_over_grpc_and_where_it_must_share_that_is_a_problem(
    tmp_path: Path,
) -> None:
    async with impostor() as server:
        for mode in ("auto", "on"):
            async with bench_of(server.url, tmp_path, shared_memory=mode) as bench:
                model = await bench.client.describe("object_detector")
                given = np.zeros((1, 320, 320, 3), np.uint8)
                soon_s = time.monotonic() + PATIENCE_S
                await bench.client.infer(model, given, ("count",), deadline_s=soon_s)
                assert not bench.shares
                assert bench.plain("unshared") == 1
                if mode == "auto":
                    await bench.client.check_sharing()
                else:
                    with pytest.raises(InferenceUnavailable, match="TRITON_SHARED_MEMORY is on"):
                        await bench.client.check_sharing()
    assert names_in_memory() == []


async def test_a_triton_that_does_not_count_its_readers_is_trusted_with_no_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with impostor() as server:
        server.triton = "2.49.0"
        async with bench_of(server.url, tmp_path) as bench:
            model = await bench.client.describe("object_detector")
            given = np.zeros((1, 320, 320, 3), np.uint8)
            for _ in range(3):
                soon_s = time.monotonic() + PATIENCE_S
                await bench.client.infer(model, given, ("count",), deadline_s=soon_s)
            assert bench.plain("unshared") == 3
    said = [line for line in caplog.messages if "2.49.0 does not count" in line]
    assert len(said) == 1

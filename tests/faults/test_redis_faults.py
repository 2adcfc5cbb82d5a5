"""Redis down, killed, slow and cancelled: nobody is taken for somebody else, and recognition goes on."""

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.embedded.loopback import free_ports
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.errors import CacheError
from orchestrator.face import FaceQuality
from orchestrator.identity import Identity
from orchestrator.metrics import Metrics
from orchestrator.model_version import ModelVersion
from orchestrator.picture import ArrayPicture
from orchestrator.recognition.connection import connect
from orchestrator.recognition.face_cache import CachedFace, FaceCache
from orchestrator.recognition.gallery_store import GalleryStore
from orchestrator.recognition.gallery_watcher import GalleryWatcher
from orchestrator.recognition.recogniser import FaceRecogniser
from orchestrator.settings import CacheSettings, FacesSettings, RedisSettings
from tests.recognition.footage import frame, person
from tests.recognition.redis import address, delaying_proxy, emptied, enrolled
from tests.recognition.scripted import PaintedFace, ScriptedDetector, ScriptedEmbedder, paint
from tests.recognition.vectors import DIMENSION, MODEL, axis, unit
from tests.servers.redis import StartRedis

pytestmark = pytest.mark.xdist_group("redis")

QUALITY = FaceQuality(40.0, 90.0, 0.0, 0.0, 0.9, 0.5)
FRAME = frame(ArrayPicture(np.zeros((48, 64, 3), np.uint8)), 1.5)


class Worker:
    """What one worker process holds of faces: gallery, cache, and one camera's recogniser."""

    def __init__(self, redis: Redis) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.store = GalleryStore(redis)
        self.watcher = GalleryWatcher(redis, MODEL, DIMENSION, metrics=metrics)
        self.cache = FaceCache(redis, MODEL, DIMENSION, settings=CacheSettings(), metrics=metrics)
        self.detector = ScriptedDetector()
        self.recogniser = FaceRecogniser(
            "door",
            self.detector,
            ScriptedEmbedder(),
            self.watcher,
            threshold=0.55,
            settings=FacesSettings(),
            metrics=metrics,
            store=self.cache,
        )
        self.tracks = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(self.watcher.run()), tasks.create_task(self.cache.run())]
            yield
            for job in jobs:
                job.cancel()

    async def who_is(self, who: int) -> str | None:
        """A new track shows a face for two frames: whose is it?"""
        self.tracks += 1
        face = PaintedFace(who, 260, 120)
        self.detector.faces = [face]
        track = person(self.tracks, 0, 0, 640, 480)
        named = None
        for step in range(2):
            shown = frame(paint(face), self.tracks + step * 0.2)
            for found in await self.recogniser.recognise(shown, (track,), deadline_s=1e9):
                named = found.identity.person_name
        return named

    def dropped(self, cause: str) -> float:
        labels = {"cause": cause}
        return self.registry.get_sample_value("fess_face_cache_dropped_total", labels) or 0.0


async def until(holds: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def worker_at(place: RedisSettings) -> AsyncIterator[Worker]:
    async with AsyncExitStack() as stack:
        redis = connect(place)
        stack.push_async_callback(redis.aclose)
        worker = Worker(redis)
        await stack.enter_async_context(worker.running())
        yield worker


class OwnRedis:
    """A Redis of this test alone, which it may kill and start again on the same port with the same data."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self._command = [str(binary), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def own_redis(redis_binary: Path, tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(redis_binary, tmp_path)
    server.start()
    yield server
    server.kill()


async def test_redis_killed_leaves_recognition_alone_and_is_taken_up_again_when_it_is_back(
    own_redis: OwnRedis,
) -> None:
    """Fault 11."""
    place = RedisSettings(host="127.0.0.1", port=own_redis.port, socket_timeout=2.0)
    async with worker_at(place) as worker:
        await until(lambda: not worker.watcher.degraded, 10.0)
        await worker.store.change("Ada", lambda _: enrolled("Ada", 0))
        await until(lambda: len(worker.watcher.current) == 1, 5.0)

        own_redis.kill()
        await until(lambda: worker.watcher.degraded, 10.0)
        assert await worker.who_is(0) == "Ada"
        assert "stay in use" in (worker.watcher.problem or "")

        own_redis.start()
        await until(lambda: not worker.watcher.degraded, 10.0)
        assert len(worker.watcher.current) == 1
        await worker.store.change("Ben", lambda _: enrolled("Ben", 1))
        await until(lambda: len(worker.watcher.current) == 2, 5.0)
        assert await worker.who_is(1) == "Ben"
        await worker.cache.drained()
        assert await worker.cache.get_face("person-ben") is not None


async def test_an_embedder_that_is_swapped_while_redis_is_down_meets_a_gallery_of_its_own(
    own_redis: OwnRedis,
) -> None:
    place = RedisSettings(host="127.0.0.1", port=own_redis.port, socket_timeout=2.0)
    async with worker_at(place) as worker:
        await until(lambda: not worker.watcher.degraded, 10.0)
        await worker.store.change("Ada", lambda _: enrolled("Ada", 0))
        await until(lambda: len(worker.watcher.current) == 1, 5.0)
        own_redis.kill()
        await until(lambda: worker.watcher.degraded, 10.0)
        other = ModelVersion("face_embedder", "2", "f" * 64)
        worker.watcher.use(other, DIMENSION)
        own_redis.start()
        await until(lambda: worker.watcher.current.model == other, 10.0)
        assert len(worker.watcher.current) == 0
        worker.watcher.use(MODEL, DIMENSION)
        await until(lambda: len(worker.watcher.current) == 1, 10.0)
        assert await worker.who_is(0) == "Ada"


async def test_a_redis_that_is_restarted_at_once_is_not_even_noticed(
    start_redis: StartRedis,
) -> None:
    """Fault 12, on one machine: nobody's identity differs afterwards from what the store says."""
    restarts: list[str] = []
    server = start_redis(watch=True, on_restart=restarts.append)
    async with worker_at(address(server, db=0)) as worker:
        await worker.store.change("Ada", lambda _: enrolled("Ada", 0))
        await until(lambda: len(worker.watcher.current) == 1, 5.0)
        await asyncio.sleep(1.1)  # the embedded Redis syncs its append-only file each second
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: bool(restarts), 30.0)
        assert await _people(worker.store) == {"person-ada"}
        await until(lambda: not worker.watcher.degraded, 10.0)
        assert await worker.who_is(0) == "Ada"


async def _people(store: GalleryStore) -> set[str]:
    """As soon as Redis answers."""
    async with asyncio.timeout(10.0):
        while True:
            try:
                return {person.face_id for person in await store.people()}
            except CacheError:
                await asyncio.sleep(0.05)


async def test_an_enrolment_while_redis_is_down_is_an_error_and_never_silently_lost() -> None:
    """Fault 11."""
    place = RedisSettings(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1.0)
    redis = connect(place)
    try:
        with pytest.raises(CacheError, match="REDIS_HOST"):
            await GalleryStore(redis).change("Ada", lambda _: enrolled("Ada", 0))
    finally:
        await redis.aclose()


async def test_a_worker_that_starts_without_redis_waits_and_recovers(
    redis_server: EmbeddedRedis,
) -> None:
    """Fault 11: absent at the start, and there later."""
    async with emptied(redis_server) as direct, AsyncExitStack() as stack:
        await GalleryStore(direct).change("Ada", lambda _: enrolled("Ada", 0))
        port = free_ports(1)[0]
        place = address(redis_server, port=port)
        worker = await stack.enter_async_context(worker_at(place))
        await until(lambda: "could not" in (worker.watcher.problem or ""), 10.0)
        assert await worker.who_is(0) is None
        await stack.enter_async_context(delaying_proxy(redis_server, 0.0, port))
        await until(lambda: not worker.watcher.degraded, 10.0)
        assert await worker.who_is(0) == "Ada"


async def test_while_redis_is_down_faces_are_dropped_and_counted_and_memory_stays_bounded() -> None:
    place = RedisSettings(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1.0)
    stranger = Identity("unknown-1", None, 1.0, False, (), 8, 0.55, 0.05, 2, "v")
    async with worker_at(place) as worker:
        for _ in range(5000):
            worker.cache.put_face(stranger, axis(0), QUALITY, FRAME, 1)
        assert worker.dropped("full") == 5000 - 1024
        await until(lambda: worker.dropped("unavailable") > 0, 10.0)
        assert worker.cache.degraded


async def test_a_redis_that_is_silent_is_given_up_in_time(redis_server: EmbeddedRedis) -> None:
    async with delaying_proxy(redis_server, 60.0) as port:
        redis = connect(address(redis_server, port=port, socket_timeout=0.3))
        try:
            with pytest.raises(CacheError):
                async with asyncio.timeout(5.0):
                    await GalleryStore(redis).stamp()
        finally:
            await redis.aclose()


async def test_no_reply_ever_reaches_another_question_however_many_are_cancelled(
    redis_server: EmbeddedRedis,
) -> None:
    """Fault 13: 10,000 look-ups behind a slow network, half of them cancelled on their way."""
    people = 200
    vectors = unit(np.random.default_rng(1).normal(size=(people, DIMENSION)))
    async with emptied(redis_server) as direct:
        await _fill(direct, vectors)
        async with delaying_proxy(redis_server, 0.1) as port:
            place = address(redis_server, port=port, socket_timeout=30.0, max_connections=500)
            redis = connect(place)
            registry = CollectorRegistry()
            cache = FaceCache(
                redis, MODEL, DIMENSION, settings=CacheSettings(), metrics=Metrics(registry)
            )
            try:
                replies = await _cancelled_lookups(cache, people, 10_000)
                # The pool must have survived it: no connection may have leaked.
                survivors = await _cancelled_lookups(cache, people, 1000, cancel=False)
                leaked = len(redis.connection_pool._in_use_connections)
            finally:
                await redis.aclose()
    assert leaked == 0
    assert len(replies) > 1000
    assert len(survivors) == 1000
    for number, found in replies + survivors:
        assert found is not None
        assert found.face_id == f"p{number}"
        assert np.array_equal(found.embedding, vectors[number])
    assert registry.get_sample_value("fess_face_cache_rejected_total", {"reason": "wrong_key"}) in (
        None,
        0.0,
    )


async def _fill(redis: Redis, vectors: np.ndarray) -> None:
    metrics = Metrics(CollectorRegistry())
    cache = FaceCache(redis, MODEL, DIMENSION, settings=CacheSettings(), metrics=metrics)
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(cache.run())
        for number, vector in enumerate(vectors):
            owner = Identity(f"p{number}", "P", 0.9, True, (), 2, 0.55, 0.05, 2, "v")
            cache.put_face(owner, vector, QUALITY, FRAME, number)
        await cache.drained()
        writer.cancel()


async def _cancelled_lookups(
    cache: FaceCache, people: int, count: int, *, cancel: bool = True
) -> list[tuple[int, CachedFace | None]]:
    """Those look-ups that were left to finish; the others are cancelled after a while of their own."""
    chance = random.Random(7)
    finished: list[tuple[int, CachedFace | None]] = []

    async def look_up(number: int) -> None:
        finished.append((number, await cache.get_face(f"p{number}")))

    async def give_up(task: asyncio.Task[None], after_s: float) -> None:
        await asyncio.sleep(after_s)
        task.cancel()

    for _ in range(0, count, 2500):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(count, 2500)):
                task = tasks.create_task(look_up(chance.randrange(people)))
                if cancel and chance.random() < 0.5:
                    tasks.create_task(give_up(task, chance.uniform(0.0, 1.0)))
    return finished

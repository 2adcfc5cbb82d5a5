"""The face cache against a real Redis: what is put there, how long and how much, and what is never believed."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgpack
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.detection import Detections
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.errors import CacheError
from orchestrator.face import FaceQuality
from orchestrator.identity import Candidate, Identity
from orchestrator.metrics import Metrics
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.picture import ArrayPicture
from orchestrator.ports import DetectionCache
from orchestrator.recognition.codec import MAX_BYTES
from orchestrator.recognition.connection import connect, ping
from orchestrator.recognition.face_cache import INDEX, FaceCache, face_key
from orchestrator.recognition.recogniser import FaceStore
from orchestrator.settings import CacheSettings
from tests.recognition.footage import frame
from tests.recognition.redis import address, emptied
from tests.recognition.vectors import DIMENSION, MODEL, axis, like

pytestmark = pytest.mark.xdist_group("redis")

QUALITY = FaceQuality(40.0, 90.0, 3.0, 4.0, 0.9, 0.5)
FRAME = frame(ArrayPicture(np.zeros((480, 640, 3), np.uint8)), 1.5, number=45)
SEEN = Detections(
    np.array([[1, 2, 30, 40], [5, 6, 70, 80]], np.float32),
    np.array([0.9, 0.6], np.float32),
    np.array([0, 2], np.int32),
    DetectionModel(ModelVersion("object_detector", "1", "d" * 64), ("person", "bicycle", "car")),
)


def identity(face_id: str) -> Identity:
    best = (Candidate(face_id, "Ada", 0.8),)
    return Identity(face_id, "Ada", 0.8, True, best, 2, 0.55, 0.05, 2, "v1")


class Bench:
    """A cache whose writes are carried out at once, and a clock that a test may turn."""

    def __init__(self, redis: Redis, **settings: int) -> None:
        self.redis = redis
        self.registry = CollectorRegistry()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.cache = FaceCache(
            redis,
            MODEL,
            DIMENSION,
            settings=CacheSettings(**settings),
            metrics=Metrics(self.registry),
            clock=lambda: self.now,
            queue_size=32,
        )

    def put(self, face_id: str, embedding: np.ndarray | None = None) -> None:
        vector = axis(0) if embedding is None else embedding
        self.cache.put_face(identity(face_id), vector, QUALITY, FRAME, 7)

    async def settle(self) -> None:
        """Until everything put has been written."""
        async with self.writing():
            await self.cache.drained()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self.cache.run())
            yield
            writer.cancel()

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def rejected(self, reason: str) -> float:
        return self.count("fess_face_cache_rejected_total", reason=reason)


@pytest.fixture
async def bench(redis_server: EmbeddedRedis) -> AsyncIterator[Bench]:
    async with emptied(redis_server) as redis:
        yield Bench(redis)


def test_it_serves_both_ports(redis_server: EmbeddedRedis) -> None:
    cache = Bench(connect(address(redis_server))).cache
    ports: tuple[DetectionCache, FaceStore] = (cache, cache)
    assert len(ports) == 2


async def test_a_face_comes_back_as_it_was_put(bench: Bench) -> None:
    bench.put("ada", like(0, 0.6))
    await bench.settle()
    found = await bench.cache.get_face("ada")
    assert found is not None
    assert np.array_equal(found.embedding, like(0, 0.6))
    assert found.cached_at == bench.now
    assert found.metadata == {
        "person_name": "Ada",
        "is_authorized": True,
        "confidence": 0.8,
        "camera_id": "door",
        "frame_number": 45,
        "track_id": 7,
        "quality": 0.5,
        "gallery_version": "v1",
    }


async def test_a_face_lies_where_the_contract_says_in_a_form_that_others_can_read(
    bench: Bench,
) -> None:
    bench.put("ada")
    await bench.settle()
    value = msgpack.unpackb(await bench.redis.get("face:ada"))
    assert value["key"] == "face:ada"
    assert np.array_equal(np.frombuffer(value["encoding"], "<f4"), axis(0))
    assert set(value) == {"key", "v", "model", "dim", "encoding", "metadata", "cached_at"}


async def test_detections_lie_where_the_contract_says_and_come_back(bench: Bench) -> None:
    bench.cache.put_detections(FRAME, SEEN)
    await bench.settle()
    value = msgpack.unpackb(await bench.redis.get("detection:door:45"))
    assert [row["object_class"] for row in value["detections"]] == ["person", "car"]
    assert datetime.fromisoformat(value["timestamp"]) == FRAME.captured_at
    found = await bench.cache.get_detections("door", 45)
    assert found is not None
    assert np.array_equal(found.xyxy, SEEN.xyxy)
    assert found.confidence == pytest.approx(SEEN.confidence)
    assert np.array_equal(found.class_id, SEEN.class_id)


async def test_what_is_not_there_is_none(bench: Bench) -> None:
    assert await bench.cache.get_face("nobody") is None
    assert await bench.cache.get_detections("door", 1) is None


async def test_everything_expires_after_its_time(redis_server: EmbeddedRedis) -> None:
    async with emptied(redis_server) as redis:
        bench = Bench(redis, face_ttl=100, detection_ttl=50)
        bench.put("ada")
        bench.cache.put_detections(FRAME, SEEN)
        await bench.settle()
        assert 95 <= await redis.ttl("face:ada") <= 100
        assert 45 <= await redis.ttl("detection:door:45") <= 50
        assert await redis.ttl(INDEX) > 0


async def test_no_more_faces_than_allowed_are_held_and_the_oldest_leave(
    redis_server: EmbeddedRedis,
) -> None:
    async with emptied(redis_server) as redis:
        bench = Bench(redis, max_faces=5)
        for number in range(8):
            bench.now += timedelta(seconds=1)
            bench.put(f"p{number}")
        bench.now += timedelta(seconds=1)
        bench.put("p3")
        await bench.settle()
        held = {key.decode() async for key in redis.scan_iter("face:*")}
        assert held == {face_key(f"p{number}") for number in (3, 4, 5, 6, 7)}


async def test_faces_that_expired_make_room(redis_server: EmbeddedRedis) -> None:
    async with emptied(redis_server) as redis:
        bench = Bench(redis, max_faces=5, face_ttl=100)
        bench.put("old")
        bench.now += timedelta(seconds=101)
        bench.put("new")
        await bench.settle()
        assert await redis.zrange(INDEX, 0, -1) == [b"new"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"garbage", "garbage"),
        (b"", "garbage"),
        (b"\x81\xa1v\x01", "garbage"),
        (b"x" * (2 * MAX_BYTES), "garbage"),
    ],
)
async def test_a_value_that_is_no_face_is_dropped_and_counted(
    bench: Bench, value: bytes, reason: str
) -> None:
    await bench.redis.set("face:ada", value)
    assert await bench.cache.get_face("ada") is None
    if value:
        assert await bench.redis.exists("face:ada") == 0
        assert bench.count("fess_face_cache_rejected_total", reason=reason) + bench.rejected(
            "wrong_version"
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "face:ben"}, "wrong_key"),
        ({"v": 2}, "wrong_version"),
        ({"model": "f" * 64}, "wrong_model"),
        ({"dim": 512}, "wrong_dimension"),
        ({"encoding": b"\0" * 31}, "wrong_dimension"),
        ({"encoding": b"\0" * 32}, "wrong_numbers"),
        ({"encoding": np.full(8, np.nan, "<f4").tobytes()}, "wrong_numbers"),
        ({"encoding": np.full(8, 9.0, "<f4").tobytes()}, "wrong_numbers"),
        ({"metadata": "none"}, "garbage"),
    ],
)
async def test_a_face_that_is_not_what_its_key_says_is_dropped_and_counted(
    bench: Bench, changes: dict[str, object], reason: str
) -> None:
    bench.put("ada")
    await bench.settle()
    sound = msgpack.unpackb(await bench.redis.get("face:ada"))
    await bench.redis.set("face:ada", msgpack.packb(sound | changes))
    assert await bench.cache.get_face("ada") is None
    assert await bench.redis.exists("face:ada") == 0
    assert bench.rejected(reason) == 1


async def test_a_truncated_face_is_dropped(bench: Bench) -> None:
    bench.put("ada")
    await bench.settle()
    await bench.redis.set("face:ada", await bench.redis.getrange("face:ada", 0, -9))
    assert await bench.cache.get_face("ada") is None
    assert bench.rejected("garbage") == 1


async def test_another_kind_of_key_in_a_faces_place_is_dropped(bench: Bench) -> None:
    await bench.redis.hset("face:ada", mapping={"encoding": "x"})
    assert await bench.cache.get_face("ada") is None
    assert await bench.redis.exists("face:ada") == 0


async def test_a_pickle_in_a_faces_place_is_never_run(bench: Bench, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    await bench.redis.set("face:ada", pickle.dumps(Attack()))
    assert await bench.cache.get_face("ada") is None
    assert not canary.exists()
    assert await bench.redis.exists("face:ada") == 0


async def test_putting_never_waits_and_what_finds_the_queue_full_is_counted(bench: Bench) -> None:
    for number in range(40):
        bench.put(f"p{number}")
    assert bench.count("fess_face_cache_dropped_total", cause="full") == 8
    await bench.settle()
    assert await bench.cache.get_face("p31") is not None
    assert await bench.cache.get_face("p32") is None


async def test_a_server_that_refuses_us_is_a_cache_error_without_the_password(
    redis_server: EmbeddedRedis,
) -> None:
    stranger = connect(address(redis_server, password=None))
    try:
        with pytest.raises(CacheError) as caught:
            await Bench(stranger).cache.get_face("ada")
        with pytest.raises(CacheError):
            await ping(stranger)
    finally:
        await stranger.aclose()
    assert redis_server.password not in str(caught.value)
    assert "REDIS_PASSWORD" in str(caught.value)


async def test_a_ping_tells_how_long_it_took(bench: Bench) -> None:
    assert 0.0 < await ping(bench.redis) < 2000.0

"""Redis Streams, with a real Redis: killed, full, emptied; no acknowledged event is lost."""

import asyncio
import logging
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from eventbus.backoff import Backoff
from eventbus.bus import BusUnavailable, PublishError, Record
from eventbus.consumer import Consumer
from eventbus.events import Event, decode, encode
from eventbus.outbox import Outbox
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from eventbus.topics import Topics
from orchestrator.embedded.redis import EmbeddedRedis
from tests.eventbus.reports import alert, motion, number_of
from tests.eventbus.until import until
from tests.servers.redis import StartRedis

pytestmark = pytest.mark.xdist_group("redis")


@pytest.fixture
def topics() -> Topics:
    site = uuid.uuid4().hex[:8]
    return Topics(f"{site}.motion", f"{site}.faces", f"{site}.alerts", f"{site}.status")


def config_of(
    server: EmbeddedRedis,
    *,
    stream_max_length: int = 1_000_000,
    claim_idle_s: float = 30.0,
    socket_timeout_s: float = 2.0,
) -> RedisStreamsConfig:
    return RedisStreamsConfig(
        server.host,
        server.port,
        password=server.password,
        stream_max_length=stream_max_length,
        claim_idle_s=claim_idle_s,
        socket_timeout_s=socket_timeout_s,
    )


@asynccontextmanager
async def opened(config: RedisStreamsConfig, topics: Topics) -> AsyncIterator[RedisStreamsBus]:
    bus = RedisStreamsBus(config, topics)
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def client(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    redis = Redis(host=server.host, port=server.port, password=server.password)
    try:
        yield redis
    finally:
        await redis.aclose()


async def entries(redis: Redis, topic: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = await redis.xrange(topic)  # the client's own types are of every version's answers
    return list(found)


async def numbers(
    bus: RedisStreamsBus, topic: str, count: int, consumer: str = "", group: str | None = "test"
) -> list[int]:
    found: list[int] = []
    source = bus.subscribe([topic], group, consumer=consumer)
    async with asyncio.timeout(30), aclosing(source) as deliveries:
        async for delivery in deliveries:
            await delivery.ack()
            number = number_of(decode(delivery.payload))
            if number not in found:
                found.append(number)
            if len(found) == count:
                return found
    raise AssertionError("a subscription does not end by itself")


async def test_an_entry_has_the_fields_that_are_documented(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    event = alert("door", 1)
    async with opened(config_of(redis_server), topics) as bus, client(redis_server) as redis:
        await bus.publish([event])
        ((_, fields),) = await entries(redis, topics.alerts)
    assert fields == {
        b"event_id": str(event.event_id).encode(),
        b"type": b"alert.triggered",
        b"camera_id": b"door",
        b"payload": encode(event),
    }


async def test_a_redis_that_is_killed_and_comes_back_has_every_acknowledged_event(
    start_redis: StartRedis, topics: Topics, tmp_path: Path
) -> None:
    server = start_redis(watch=True)
    sent: list[Record] = []
    dropped: list[tuple[str, str, int]] = []
    async with opened(config_of(server), topics) as bus, asyncio.TaskGroup() as tasks:
        box = Outbox(
            bus,
            tmp_path / "outbox",
            1 << 26,
            on_sent=sent.append,
            on_dropped=lambda *what: dropped.append(what),
            backoff=Backoff(0.05, 0.5),
        )
        run = tasks.create_task(box.run())
        for number in range(4000):
            box.put(motion("door", number))
            if number in (1000, 2500):
                await until(lambda: len(sent) > 0 and box.degraded == "")
                os.kill(server.pid, signal.SIGKILL)
            await asyncio.sleep(0.0005)
        await until(lambda: box.waiting == 0, timeout_s=60)
        assert await numbers(bus, topics.motion, 4000) == list(range(4000))
        run.cancel()
    assert dropped == []
    assert len(sent) == 4000


async def test_a_full_redis_refuses_all_of_a_call_and_takes_it_when_there_is_room(
    start_redis: StartRedis, topics: Topics
) -> None:
    server = start_redis()
    async with opened(config_of(server), topics) as bus, client(server) as redis:
        await bus.publish([alert("door", 0)])
        await redis.config_set("maxmemory", "1")
        with pytest.raises(PublishError, match="maxmemory") as failure:
            await bus.publish([alert("door", 1), alert("door", 2)])
        await redis.config_set("maxmemory", "0")
        await bus.send(failure.value.remaining)
        assert await numbers(bus, topics.alerts, 3) == [0, 1, 2]


async def test_an_onlooker_leaves_no_group_behind(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    async with opened(config_of(redis_server), topics) as bus, client(redis_server) as redis:
        await bus.publish([alert("door", number) for number in range(300)])
        assert await numbers(bus, topics.alerts, 300, group=None) == list(range(300))
        assert await redis.xinfo_groups(topics.alerts) == []


async def test_a_wrong_password_is_told_and_never_shown(
    redis_server: EmbeddedRedis, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = RedisStreamsConfig(redis_server.host, redis_server.port, password="hunter2-wrong")
    async with opened(wrong, topics) as bus:
        with pytest.raises(PublishError, match="invalid username-password") as failure:
            await bus.publish([alert("door", 1)])
        with pytest.raises(BusUnavailable, match="invalid username-password"):
            await bus.check()
    assert "hunter2" not in f"{failure.value} {failure.value.__cause__} {wrong!r} {caplog.text}"


async def test_nobody_at_the_address_is_told_with_the_address() -> None:
    async with opened(RedisStreamsConfig("127.0.0.1", 1), Topics()) as bus:
        with pytest.raises(PublishError, match=r"127\.0\.0\.1:1") as failure:
            await bus.publish([alert("door", 1)])
        assert failure.value.acknowledged == 0
        assert len(failure.value.remaining) == 1


async def test_a_connection_that_was_cut_is_replaced_without_a_failure(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    async with opened(config_of(redis_server), topics) as bus, client(redis_server) as redis:
        await bus.publish([alert("door", 1)])
        await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
        await bus.publish([alert("door", 2)])
        assert await numbers(bus, topics.alerts, 2) == [1, 2]


async def test_a_stream_keeps_roughly_its_newest_entries(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    config = config_of(redis_server, stream_max_length=100)
    async with opened(config, topics) as bus, client(redis_server) as redis:
        for start in range(0, 1000, 100):
            await bus.publish([motion("door", number) for number in range(start, start + 100)])
        length = await redis.xlen(topics.motion)
        _, last = (await entries(redis, topics.motion))[-1]
    assert 100 <= length <= 300
    assert number_of(decode(last[b"payload"])) == 999


async def test_what_a_member_left_behind_is_taken_over_by_another(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    config = config_of(redis_server, claim_idle_s=0.3)
    async with opened(config, topics) as bus:
        await bus.publish([alert("door", number) for number in range(3)])
        source = bus.subscribe([topics.alerts], "test", consumer="fell asleep")
        async with aclosing(source) as deliveries:
            await anext(deliveries)
        assert await numbers(bus, topics.alerts, 3, consumer="awake") == [0, 1, 2]


async def test_what_is_done_is_acknowledged_soon_though_nothing_more_comes(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    async with opened(config_of(redis_server), topics) as bus, client(redis_server) as redis:

        async def pending() -> int:
            found: Any = await redis.xpending(topics.motion, "test")
            return int(found["pending"])

        await redis.xgroup_create(topics.motion, "test", id="0", mkstream=True)
        await bus.publish([motion("door", 0), motion("door", 1)])
        reading = numbers(bus, topics.motion, 3)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            read = tasks.create_task(reading)
            while not await pending():  # noqa: ASYNC110  # Redis rings no bell
                await asyncio.sleep(0.01)
            while await pending():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not read.done()
            await bus.publish([motion("door", 2)])
        assert read.result() == [0, 1, 2]


async def test_a_reader_goes_on_when_its_stream_was_deleted(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    async with (
        opened(config_of(redis_server), topics) as bus,
        client(redis_server) as redis,
        aclosing(bus.subscribe([topics.alerts], "test")) as deliveries,
    ):
        await bus.publish([alert("door", 1)])
        await (await anext(deliveries)).ack()
        await redis.delete(topics.alerts)
        await bus.publish([alert("door", 2)])
        async with asyncio.timeout(30):
            found = await anext(deliveries)
    assert number_of(decode(found.payload)) == 2


async def test_a_silent_redis_fails_a_call_in_time(start_redis: StartRedis, topics: Topics) -> None:
    server = start_redis()
    async with opened(config_of(server, socket_timeout_s=0.5), topics) as bus:
        await bus.check()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                with pytest.raises(PublishError):
                    await bus.publish([alert("door", 1)])
                with pytest.raises(BusUnavailable):
                    await bus.check()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await bus.check() < 5.0


async def test_a_reader_that_is_cancelled_while_it_acknowledges_ends(
    redis_server: EmbeddedRedis, topics: Topics
) -> None:
    """One time in five the client lost the cancellation, and the reader went on for ever."""

    async def handle(event: Event) -> None:
        pass

    async with opened(config_of(redis_server), topics) as bus:
        for number in range(20):
            await bus.publish([alert("door", number)])
            consumer = Consumer(bus, [topics.alerts], f"group-{number}", handle)
            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                run = tasks.create_task(consumer.run())
                await until(lambda c=consumer: c.handled > 0)  # type: ignore[misc]
                run.cancel()

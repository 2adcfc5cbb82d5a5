"""What every event bus must do, asked of all three: memory, a real Redis and a real Kafka."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from eventbus.backoff import Backoff
from eventbus.bus import Delivery, EventBus, EventRefused, Record, record_of
from eventbus.consumer import Consumer
from eventbus.events import Event, decode, encode
from eventbus.kafka import KafkaBus
from eventbus.kafka_config import KafkaConfig
from eventbus.memory import MemoryBus
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from eventbus.topics import Topics
from orchestrator.embedded.redis import EmbeddedRedis
from tests.eventbus.reports import alert, face, motion, number_of, status
from tests.eventbus.until import until
from tests.servers.kafka import KafkaServer

MAX_BYTES = 100_000


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.xdist_group("redis")),
        pytest.param("kafka", marks=pytest.mark.xdist_group("kafka")),
    ]
)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[EventBus]:
    site = uuid.uuid4().hex[:8]
    topics = Topics(f"{site}.motion", f"{site}.faces", f"{site}.alerts", f"{site}.status")
    made: EventBus
    match request.param:
        case "redis":
            redis: EmbeddedRedis = request.getfixturevalue("redis_server")
            made = RedisStreamsBus(
                RedisStreamsConfig(
                    redis.host, redis.port, password=redis.password, max_event_bytes=MAX_BYTES
                ),
                topics,
            )
        case "kafka":
            kafka: KafkaServer = request.getfixturevalue("kafka_server")
            made = KafkaBus(KafkaConfig(kafka.address, max_request_size=MAX_BYTES), topics)
        case _:
            made = MemoryBus(topics, max_bytes=MAX_BYTES)
    yield made
    await made.close()


async def received(
    bus: EventBus,
    topics: tuple[str, ...],
    count: int,
    *,
    group: str | None = "readers",
    acks: int = -1,
) -> list[Delivery]:
    """Read `count` deliveries as a member of the group; acknowledge the first `acks` of them, or all."""
    found: list[Delivery] = []
    async with asyncio.timeout(30), aclosing(bus.subscribe(topics, group)) as deliveries:
        async for delivery in deliveries:
            found.append(delivery)
            if acks < 0 or len(found) <= acks:
                await delivery.ack()
            if len(found) == count:
                break
    return found


async def test_every_kind_of_event_arrives_in_its_topic_as_it_was_sent(bus: EventBus) -> None:
    events: list[Event] = [motion("door", 1), face("door", 2), status("door", 3), alert("door", 4)]
    await bus.publish(events)
    found = await received(bus, bus.topics.all, 4)
    assert sorted((decode(one.payload) for one in found), key=number_of) == events
    assert {one.topic for one in found} == set(bus.topics.all)
    assert {one.key for one in found} == {"door"}


async def test_the_events_of_a_camera_keep_their_order(bus: EventBus) -> None:
    for start in range(0, 600, 200):
        await bus.publish([motion(f"camera-{n % 7}", n) for n in range(start, start + 200)])
    by_camera: dict[str, list[int]] = defaultdict(list)
    for one in await received(bus, (bus.topics.motion,), 600):
        by_camera[one.key].append(number_of(decode(one.payload)))
    assert len(by_camera) == 7
    assert all(numbers == sorted(numbers) for numbers in by_camera.values())


async def test_what_was_not_acknowledged_is_delivered_again(bus: EventBus) -> None:
    await bus.publish([alert("door", number) for number in range(5)])
    await received(bus, (bus.topics.alerts,), 5, acks=2)
    again = await received(bus, (bus.topics.alerts,), 3)
    assert [number_of(decode(one.payload)) for one in again] == [2, 3, 4]


async def test_each_group_gets_every_event(bus: EventBus) -> None:
    await bus.publish([alert("door", number) for number in range(3)])
    for group in ("guards", "archive"):
        found = await received(bus, (bus.topics.alerts,), 3, group=group)
        assert [number_of(decode(one.payload)) for one in found] == [0, 1, 2]


async def test_an_onlooker_is_given_everything_each_time_and_takes_nothing_from_a_group(
    bus: EventBus,
) -> None:
    await bus.publish([alert("door", number) for number in range(3)])
    for group in (None, "guards", None):
        found = await received(bus, (bus.topics.alerts,), 3, group=group)
        assert [number_of(decode(one.payload)) for one in found] == [0, 1, 2]


async def test_a_reader_that_is_stuck_holds_up_neither_the_writer_nor_another_group(
    bus: EventBus,
) -> None:
    await bus.publish([alert("door", 0)])
    async with aclosing(bus.subscribe([bus.topics.alerts], "stuck")) as stuck:
        async with asyncio.timeout(30):
            await anext(stuck)  # and it never asks for the next
        for start in range(1, 1001, 100):
            await bus.publish([alert("door", number) for number in range(start, start + 100)])
        found = await received(bus, (bus.topics.alerts,), 1001, group="brisk")
    assert [number_of(decode(one.payload)) for one in found] == list(range(1001))


@pytest.mark.parametrize("group", ["readers", None])
async def test_a_reader_hears_of_an_event_that_comes_while_it_waits(
    bus: EventBus, group: str | None
) -> None:
    await bus.publish([alert("door", 1)])
    async with aclosing(bus.subscribe([bus.topics.alerts], group)) as deliveries:
        assert number_of(decode((await anext(deliveries)).payload)) == 1
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(next_of(deliveries))
            await asyncio.sleep(0.05)
            await bus.publish([alert("door", 2)])
        assert number_of(decode(waiting.result().payload)) == 2


async def next_of(deliveries: AsyncIterator[Delivery]) -> Delivery:
    async with asyncio.timeout(30):
        return await anext(deliveries)


async def test_an_event_that_is_too_large_is_refused_and_the_others_are_named(
    bus: EventBus,
) -> None:
    small, large = alert("door", 1), alert("door", 2, message="x" * MAX_BYTES)
    with pytest.raises(EventRefused, match=str(MAX_BYTES)) as refusal:
        await bus.publish([small, large])
    assert [one.event_id for one in refusal.value.refused] == [str(large.event_id)]
    assert [one.event_id for one in refusal.value.remaining] == [str(small.event_id)]
    await bus.send(refusal.value.remaining)
    (found,) = await received(bus, (bus.topics.alerts,), 1)
    assert found.payload == encode(small)


async def test_sending_nothing_is_nothing(bus: EventBus) -> None:
    await bus.send([])
    await bus.publish([])


async def test_a_check_answers_with_the_time_it_took(bus: EventBus) -> None:
    await bus.check()
    assert 0.0 <= await bus.check() < 5.0


async def test_a_reader_drops_repeats_and_puts_the_unusable_aside(bus: EventBus) -> None:
    handled: list[int] = []

    async def handle(event: Event) -> None:
        handled.append(number_of(event))

    topic = bus.topics.alerts
    garbage = Record(topic, "door", "none", "alert.triggered", b"\x00garbage\xff", 1.0)
    deep = Record(topic, "door", "none", "alert.triggered", b"[" * 10_000, 1.0)
    repeat = record_of(alert("door", 1), bus.topics)
    await bus.send([repeat, garbage, repeat, deep, record_of(alert("door", 2), bus.topics)])
    consumer = Consumer(bus, [topic], "readers", handle, backoff=Backoff(0.001, 0.01))
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(consumer.run())
        await until(lambda: consumer.handled == 2, timeout_s=30)
        run.cancel()
    assert handled == [1, 2]
    assert (consumer.repeats, consumer.dead) == (1, 2)
    letters = await received(bus, (Topics.dead_letter(topic),), 2)
    assert [letter.payload for letter in letters] == [garbage.payload, deep.payload]
    headers = dict(letters[0].headers)
    assert headers["source_topic"] == topic
    assert headers["source_offset"]
    assert headers["reason"].startswith("not an event")
    await bus.publish([alert("door", 3)])
    (after,) = await received(bus, (topic,), 1)
    assert number_of(decode(after.payload)) == 3  # the dead ones are behind us

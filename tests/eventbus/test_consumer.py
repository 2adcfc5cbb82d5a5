"""Consuming: each event is handled once in effect, and what cannot be used goes aside as it came."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from eventbus.backoff import Backoff
from eventbus.bus import Record, record_of
from eventbus.consumer import Consumer, Deduplicator, HandlingFailed
from eventbus.events import Event, encode
from eventbus.memory import MemoryBus
from eventbus.topics import Topics
from tests.eventbus.reports import alert, motion, number_of
from tests.eventbus.unsteady import UnsteadyBus
from tests.eventbus.until import until

TOPIC = Topics().alerts
SWIFT = Backoff(0.001, 0.002)


class Reader:
    """Handles what it can; a number in `troubled` fails as often as it says."""

    def __init__(self, troubled: dict[int, int] | None = None) -> None:
        self.handled: list[int] = []
        self.attempts: list[int] = []
        self._troubled = troubled or {}

    async def handle(self, event: Event) -> None:
        number = number_of(event)
        self.attempts.append(number)
        if self._troubled.get(number, 0) > 0:
            self._troubled[number] -= 1
            raise HandlingFailed("not now")
        self.handled.append(number)


@asynccontextmanager
async def consuming(
    bus: MemoryBus | UnsteadyBus, handle: Callable[[Event], Awaitable[None]]
) -> AsyncIterator[Consumer]:
    consumer = Consumer(bus, [TOPIC], "readers", handle, max_attempts=3, backoff=SWIFT)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(consumer.run())
        try:
            yield consumer
        finally:
            run.cancel()


def raw(payload: bytes) -> Record:
    return Record(TOPIC, "door", "some-id", "alert.triggered", payload, 0.0)


async def test_a_repeat_is_dropped_by_its_id() -> None:
    bus, reader = MemoryBus(), Reader()
    await bus.publish([alert("door", 1), alert("door", 1), alert("door", 2), alert("door", 1)])
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: consumer.handled + consumer.repeats == 4)
    assert reader.handled == [1, 2]
    assert consumer.repeats == 2


async def test_what_fails_for_a_while_is_tried_again_in_its_turn() -> None:
    bus, reader = MemoryBus(), Reader(troubled={1: 2})
    await bus.publish([alert("door", 1), alert("door", 2)])
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: consumer.handled == 2)
    assert reader.attempts == [1, 1, 1, 2]
    assert consumer.dead == 0


async def test_what_fails_every_time_is_a_dead_letter_and_the_next_is_handled() -> None:
    bus, reader = MemoryBus(), Reader(troubled={1: 99})
    await bus.publish([alert("door", 1), alert("door", 2)])
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: consumer.handled == 1)
    (letter,) = bus.records(TOPIC + ".dlq")
    assert letter.payload == encode(alert("door", 1))
    assert dict(letter.headers)["reason"] == "not handled: not now"
    assert dict(letter.headers)["attempts"] == "3"
    assert reader.handled == [2]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"not JSON", "Invalid JSON"),
        (b"\x00\x01\x02", "Invalid JSON"),
        (b"x" * 20_000_000, "20000000 bytes"),
        (b"[" * 10_000, "recursion limit"),
        (b'{"event_type":"door.opened"}', "door.opened"),
        (b'{"event_type":"alert.triggered"}', "Field required"),
    ],
    ids=["text", "binary", "20 MB", "deep", "unknown type", "no fields"],
)
async def test_what_is_no_event_is_a_dead_letter_with_its_bytes_reason_and_place(
    payload: bytes, reason: str
) -> None:
    bus, reader = MemoryBus(max_bytes=1 << 26), Reader()
    await bus.send([raw(payload)])
    await bus.publish([alert("door", 2)])
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: consumer.handled == 1)
    (letter,) = bus.records(TOPIC + ".dlq")
    headers = dict(letter.headers)
    assert letter.payload == payload
    assert letter.key == "door"
    assert reason in headers["reason"]
    assert headers["source_topic"] == TOPIC
    assert headers["source_offset"] == "0"
    assert headers["group"] == "readers"
    assert headers["payload_sha256"] == hashlib.sha256(payload).hexdigest()


async def test_the_reason_of_a_dead_letter_does_not_repeat_what_was_in_it() -> None:
    bus, reader = MemoryBus(), Reader()
    await bus.send([raw(b'{"event_type":"alert.triggered","camera_id":["hunter2"]}')])
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: consumer.dead == 1)
    assert "hunter2" not in str(bus.records(TOPIC + ".dlq")[0].headers)


async def test_a_dead_letter_waits_for_a_bus_that_is_down_and_its_place_is_kept() -> None:
    bus, reader = UnsteadyBus(), Reader()
    await bus.send([raw(b"garbage")])
    bus.line = "down"
    async with consuming(bus, reader.handle) as consumer:
        await until(lambda: bus.calls >= 4)
        assert consumer.dead == 0
        bus.line = "up"
        await until(lambda: consumer.dead == 1)
    assert len(bus.memory.records(TOPIC + ".dlq")) == 1


async def test_a_dead_letter_has_the_same_id_when_it_is_sent_again() -> None:
    bus = UnsteadyBus("deaf")
    await bus.memory.send([raw(b"garbage")])
    async with consuming(bus, Reader().handle) as consumer:
        await until(lambda: bus.calls >= 3)
        bus.line = "up"
        await until(lambda: consumer.dead == 1)
    letters = bus.memory.records(TOPIC + ".dlq")
    assert len(letters) > 1
    assert len({letter.event_id for letter in letters}) == 1


async def test_a_bug_in_the_handler_is_not_mistaken_for_a_bad_event() -> None:
    async def broken(event: Event) -> None:
        raise ZeroDivisionError

    bus = MemoryBus()
    await bus.publish([alert("door", 1)])
    with pytest.raises(ZeroDivisionError):
        await Consumer(bus, [TOPIC], "readers", broken).run()
    assert bus.records(TOPIC + ".dlq") == ()


def test_the_memory_of_ids_is_bounded_and_forgets_the_oldest() -> None:
    seen = Deduplicator(capacity=3)
    events = [motion("door", number) for number in range(4)]
    for event in events:
        seen.add(event.event_id)
    assert [event.event_id in seen for event in events] == [False, True, True, True]


async def test_a_record_is_an_event_with_its_topic_and_key() -> None:
    record = record_of(alert("door", 1), Topics(alerts="site-7.alerts"))
    assert (record.topic, record.key) == ("site-7.alerts", "door")

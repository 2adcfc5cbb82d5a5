"""Kafka, with a real broker: killed, silent, strict about logins and sizes; no acknowledged event is lost."""

import asyncio
import itertools
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from eventbus.backoff import Backoff
from eventbus.bus import BusUnavailable, Delivery, EventRefused, PublishError, Record
from eventbus.consumer import Consumer
from eventbus.events import Event, decode
from eventbus.kafka import KafkaBus
from eventbus.kafka_config import KafkaConfig
from eventbus.outbox import Outbox
from eventbus.topics import Topics
from tests.eventbus.reports import alert, motion, number_of
from tests.eventbus.until import until
from tests.servers.kafka import PASSWORD, USER, KafkaServer

pytestmark = pytest.mark.xdist_group("kafka")


@pytest.fixture
def topics() -> Topics:
    site = uuid.uuid4().hex[:8]
    return Topics(f"{site}.motion", f"{site}.faces", f"{site}.alerts", f"{site}.status")


@asynccontextmanager
async def opened(config: KafkaConfig, topics: Topics) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(config, topics)
    try:
        yield bus
    finally:
        await bus.close()


async def create(server: KafkaServer, topic: str, **configs: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=server.address)
    await admin.start()
    try:
        settings = {name.replace("_", "."): value for name, value in configs.items()}
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
    finally:
        await admin.close()


async def received(bus: KafkaBus, topic: str, count: int, group: str = "test") -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(60), aclosing(bus.subscribe([topic], group)) as deliveries:
        async for delivery in deliveries:
            found.append(delivery)
            await delivery.ack()
            if len(found) >= count:
                break
    return found


async def unique(bus: KafkaBus, topic: str, count: int) -> dict[str, list[int]]:
    """Camera -> numbers in the order of their first arrival, until `count` different events came."""
    seen: set[uuid.UUID] = set()
    by_camera: dict[str, list[int]] = defaultdict(list)
    async with asyncio.timeout(60), aclosing(bus.subscribe([topic], "unique")) as deliveries:
        async for delivery in deliveries:
            event = decode(delivery.payload)
            if event.event_id not in seen:
                seen.add(event.event_id)
                by_camera[event.camera_id].append(number_of(event))
            if len(seen) == count:
                return by_camera
    raise AssertionError("a subscription does not end by itself")


async def test_a_broker_that_is_killed_and_comes_back_has_every_acknowledged_event(
    kafka_server: KafkaServer, topics: Topics, tmp_path: Path
) -> None:
    sent: list[Record] = []
    dropped: list[tuple[str, str, int]] = []
    config = KafkaConfig(kafka_server.address, request_timeout_s=2, delivery_timeout_s=3)
    async with opened(config, topics) as bus, asyncio.TaskGroup() as tasks:
        box = Outbox(
            bus,
            tmp_path,
            1 << 26,
            on_sent=sent.append,
            on_dropped=lambda *what: dropped.append(what),
            backoff=Backoff(0.1, 0.5),
        )
        run = tasks.create_task(box.run())
        for number in range(4000):
            box.put(motion(f"camera-{number % 10}", number))
            if number == 1000:
                await until(lambda: len(sent) > 0)
                await asyncio.to_thread(kafka_server.kill)
            if number == 3000:
                await until(lambda: bool(box.degraded))
                await asyncio.to_thread(kafka_server.start)
            await asyncio.sleep(0.0005)
        await until(lambda: box.waiting == 0, timeout_s=60)
        assert box.degraded == ""
        found = await unique(bus, topics.motion, 4000)
        run.cancel()
    assert dropped == []
    assert len(sent) == 4000
    for camera, numbers in found.items():
        assert numbers == list(range(int(camera.removeprefix("camera-")), 4000, 10))


async def test_a_reader_goes_on_after_the_broker_was_killed(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    config = KafkaConfig(kafka_server.address, request_timeout_s=2, session_timeout_s=6)
    async with (
        opened(config, topics) as bus,
        aclosing(bus.subscribe([topics.alerts], "steady")) as deliveries,
    ):
        await bus.publish([alert("door", 1)])
        async with asyncio.timeout(60):
            first = await anext(deliveries)
            await first.ack()
            await asyncio.to_thread(kafka_server.kill)
            await asyncio.to_thread(kafka_server.start)
            await until_published(bus, alert("door", 2))
            numbers = [number_of(decode((await anext(deliveries)).payload))]
            while numbers[-1] != 2:
                numbers.append(number_of(decode((await anext(deliveries)).payload)))
    assert numbers in ([2], [1, 2])  # the first again, if its acknowledgement was not kept yet


async def test_what_was_acknowledged_is_committed_while_the_reading_goes_on(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    """So a reader that is killed sees a second's events again, not all of them."""
    group = topics.alerts
    await create(kafka_server, topics.alerts)
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka_server.address)
    await admin.start()
    try:
        async with (
            opened(KafkaConfig(kafka_server.address), topics) as bus,
            aclosing(bus.subscribe([topics.alerts], group)) as deliveries,
            asyncio.timeout(60),
        ):
            for number in itertools.count():
                await bus.publish([alert("door", number)])
                await (await anext(deliveries)).ack()
                kept = await admin.list_consumer_group_offsets(group)
                if any(offset.offset > 0 for offset in kept.values()):
                    break
                await asyncio.sleep(0.05)
        (last,) = (await admin.list_consumer_group_offsets(group)).values()
    finally:
        await admin.close()
    assert last.offset == number + 1  # what was not yet committed is when the reader leaves


async def until_published(bus: KafkaBus, event: Event) -> None:
    while True:
        try:
            await bus.publish([event])
        except PublishError:
            await asyncio.sleep(0.2)
        else:
            return


async def test_a_broker_that_does_not_answer_fails_a_call_in_time_and_serves_the_next(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    config = KafkaConfig(kafka_server.address, request_timeout_s=1, delivery_timeout_s=1.5)
    async with opened(config, topics) as bus:
        await bus.publish([alert("door", 1)])
        kafka_server.pause()
        try:
            started = time.monotonic()
            with pytest.raises(PublishError, match="acknowledg") as failure:
                await bus.publish([alert("door", 2), alert("door", 3)])
            with pytest.raises(BusUnavailable):
                await bus.check()
            assert time.monotonic() - started < 15
        finally:
            kafka_server.resume()
        assert len(failure.value.remaining) == 2
        await until_published(bus, alert("door", 4))


@pytest.mark.parametrize("security", ["PLAINTEXT", "SASL_PLAINTEXT"])
async def test_nobody_at_the_address_is_told_with_the_address(
    security: Literal["PLAINTEXT", "SASL_PLAINTEXT"],
) -> None:
    config = KafkaConfig(
        "127.0.0.1:1", security_protocol=security, sasl_username=USER, sasl_password=PASSWORD
    )
    async with opened(config, Topics()) as bus:
        with pytest.raises(PublishError, match=r"127\.0\.0\.1:1.*[Cc]onnect") as failure:
            await bus.publish([alert("door", 1)])
        assert failure.value.remaining[0].key == "door"
        with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:1"):
            await bus.check()


async def test_a_topic_that_is_not_there_and_is_not_made_is_named(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    """A broker that makes topics makes none of a name that it does not allow."""
    wrong = replace(topics, alerts="not a name")
    async with opened(KafkaConfig(kafka_server.address, request_timeout_s=1), wrong) as bus:
        with pytest.raises(PublishError, match="no topic not a name"):
            await bus.publish([alert("door", 1)])
        assert await bus.missing() == wrong.all


async def test_a_wrong_password_is_told_and_never_shown(
    kafka_server: KafkaServer, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiokafka")
    config = KafkaConfig(
        kafka_server.login_address,
        security_protocol="SASL_PLAINTEXT",
        sasl_username=USER,
        sasl_password="hunter2-wrong",
    )
    async with opened(config, topics) as bus:
        with pytest.raises(PublishError, match="login as 'fess' with PLAIN refused") as failure:
            await bus.publish([alert("door", 1)])
    assert "hunter2" not in f"{failure.value} {failure.value.__cause__} {config!r} {caplog.text}"


async def test_the_right_password_opens_the_door(
    kafka_server: KafkaServer, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiokafka")
    config = KafkaConfig(
        kafka_server.login_address,
        security_protocol="SASL_PLAINTEXT",
        sasl_username=USER,
        sasl_password=PASSWORD,
    )
    async with opened(config, topics) as bus:
        await bus.publish([alert("door", 1)])
        (found,) = await received(bus, topics.alerts, 1)
    assert number_of(decode(found.payload)) == 1
    assert "Authenticated as fess" in caplog.text
    assert PASSWORD not in caplog.text


def encrypted(server: KafkaServer, **others: Any) -> KafkaConfig:
    return KafkaConfig(
        server.closed_address,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username=USER,
        sasl_password=PASSWORD,
        **others,
    )


async def test_an_encrypted_login_that_never_sends_the_password(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    async with opened(encrypted(kafka_server, ssl_cafile=kafka_server.authority), topics) as bus:
        await bus.publish([alert("door", 1)])
        (found,) = await received(bus, topics.alerts, 1)
    assert number_of(decode(found.payload)) == 1


async def test_a_broker_that_nobody_vouches_for_is_given_no_password(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    async with opened(encrypted(kafka_server), topics) as bus:
        with pytest.raises(BusUnavailable, match="set KAFKA_SSL_CAFILE"):
            await bus.check()


async def test_a_broker_that_asks_for_a_certificate_is_shown_ours(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    config = KafkaConfig(
        kafka_server.tls_address,
        security_protocol="SSL",
        ssl_cafile=kafka_server.authority,
        ssl_certfile=kafka_server.folder / "client.crt",
        ssl_keyfile=kafka_server.folder / "client.key",
    )
    async with opened(config, topics) as bus:
        await bus.publish([alert("door", 1)])
        (found,) = await received(bus, topics.alerts, 1)
    assert number_of(decode(found.payload)) == 1
    async with opened(replace(config, ssl_certfile=None, ssl_keyfile=None), topics) as bus:
        with pytest.raises(BusUnavailable, match=kafka_server.tls_address):
            await bus.check()


async def test_a_certificate_that_is_none_is_told_with_its_file(
    kafka_server: KafkaServer, topics: Topics, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    file.write_text("not a certificate")
    async with opened(encrypted(kafka_server, ssl_cafile=file), topics) as bus:
        with pytest.raises(BusUnavailable, match=r"authority\.pem: cannot be used"):
            await bus.check()


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("acks", ["all", "1", "0"])
async def test_every_compression_and_acknowledgement_works(
    kafka_server: KafkaServer,
    topics: Topics,
    acks: Literal["all", "1", "0"],
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"],
) -> None:
    config = KafkaConfig(kafka_server.address, acks=acks, compression=compression)
    await create(kafka_server, topics.motion)
    async with opened(config, topics) as bus:
        await bus.publish([motion("door", number) for number in range(20)])
        found = await received(bus, topics.motion, 20)
    assert [number_of(decode(one.payload)) for one in found] == list(range(20))


async def test_all_events_of_a_camera_go_to_one_partition(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    async with opened(KafkaConfig(kafka_server.address), topics) as bus:
        await bus.publish([motion(f"camera-{number % 12}", number) for number in range(120)])
        found = await received(bus, topics.motion, 120)
    partitions: dict[str, set[str]] = defaultdict(set)
    for delivery in found:
        partitions[delivery.key].add(delivery.offset.partition(":")[0])
    assert all(len(where) == 1 for where in partitions.values())
    assert len(set.union(*partitions.values())) > 1


async def test_the_brokers_own_limit_refuses_the_event_that_breaks_it_and_no_other(
    kafka_server: KafkaServer, topics: Topics
) -> None:
    await create(kafka_server, topics.alerts, max_message_bytes="2000")
    waiting: list[Record] = []
    refused: list[Record] = []
    config = KafkaConfig(kafka_server.address, compression="none")
    async with opened(config, topics) as bus:
        events = [alert("door", n, message="x" * (5000 if n == 7 else 10)) for n in range(20)]
        try:
            await bus.publish(events)
        except PublishError as failure:  # the batch was too large: the next goes one by one
            waiting = list(failure.remaining)
        while waiting:
            try:
                await bus.send(waiting)
            except EventRefused as refusal:
                refused += refusal.refused
                waiting = list(refusal.remaining)
            else:
                break
        found = await received(bus, topics.alerts, 19)
    assert [record.event_id for record in refused] == [str(events[7].event_id)]
    assert [number_of(decode(one.payload)) for one in found] == [n for n in range(20) if n != 7]


@pytest.mark.parametrize(("room", "kept"), [("33554432", 20_000_000), ("1048588", 0)])
async def test_a_message_of_20_mb_is_put_aside_whole_or_by_its_place_and_the_next_is_read(
    kafka_server: KafkaServer, topics: Topics, room: str, kept: int
) -> None:
    await create(kafka_server, topics.alerts, max_message_bytes="33554432")
    await create(kafka_server, Topics.dead_letter(topics.alerts), max_message_bytes=room)
    monster = Record(topics.alerts, "door", "none", "alert.triggered", b"x" * 20_000_000, 1.0)
    huge = KafkaConfig(kafka_server.address, max_request_size=33_554_432, compression="none")
    async with opened(huge, topics) as bus:
        await bus.send([monster])
        await bus.publish([alert("door", 2)])
    handled: list[int] = []

    async def handle(event: Event) -> None:
        handled.append(number_of(event))

    config = KafkaConfig(kafka_server.address, compression="none")
    async with opened(config, topics) as bus:
        consumer = Consumer(bus, [topics.alerts], "test", handle, backoff=Backoff(0.01, 0.1))
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(consumer.run())
            await until(lambda: consumer.handled == 1, timeout_s=60)
            run.cancel()
        (letter,) = await received(bus, Topics.dead_letter(topics.alerts), 1)
    assert handled == [2]
    assert len(letter.payload) == kept
    assert dict(letter.headers)["payload_bytes"] == "20000000"
    assert dict(letter.headers)["source_offset"] == "0:0"

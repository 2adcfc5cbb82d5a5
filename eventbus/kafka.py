"""Kafka, through aiokafka: idempotent with acks=all, ordered per camera, bounded in what it holds."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import DefaultPartitioner

from eventbus.bus import (
    BusUnavailable,
    Delivery,
    EventRefused,
    PublishError,
    Record,
    record_of,
    refuse_oversize,
)
from eventbus.events import Event
from eventbus.kafka_config import KafkaConfig, describe
from eventbus.kafka_consumer import deliveries
from eventbus.topics import Topics

log = logging.getLogger(__name__)

_FAREWELL_S = 1.0
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_PARTITIONER = DefaultPartitioner()


@lru_cache(maxsize=8192)
def partition_of(key: str, partitions: int) -> int:
    """Kafka's own choice for a key, as the Java client makes it; hashing in Python is slow, so remembered."""
    choice: int = _PARTITIONER(key.encode(), list(range(partitions)), [])
    return choice


@dataclass(slots=True)
class _Lane:
    """What of one call goes to one partition: sent up to `done`, being sent up to `sent`."""

    topic: str
    partition: int
    records: list[Record]
    done: int = 0
    sent: int = 0
    too_large: bool = False


class KafkaBus:
    """The producer is made on first use, and made anew after any failure.

    An idempotent producer never gives a batch up and has no bound on what it holds. So each call
    waits for all its acknowledgements, and what it could not deliver in time leaves with the producer.
    """

    def __init__(self, config: KafkaConfig, topics: Topics | None = None) -> None:
        self._config = config
        self._topics = topics or Topics()
        self._producer: Any = None  # AIOKafkaProducer, which is untyped
        self._abandoned: list[Any] = []
        self._connecting = asyncio.Lock()
        self._one_by_one = False

    @property
    def topics(self) -> Topics:
        return self._topics

    async def publish(self, events: Sequence[Event]) -> None:
        await self.send([record_of(event, self._topics) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        if not records:
            return
        refuse_oversize(records, self._config.max_request_size)
        lanes: list[_Lane] = []
        delivered = False
        try:
            async with asyncio.timeout(self._config.delivery_timeout_s):
                producer = await self._connected()
                lanes = await self._lanes(producer, records)
                while any(lane.done < len(lane.records) for lane in lanes):
                    await self._round(producer, lanes)
            delivered = True
            self._one_by_one = False
        except _TOO_LARGE as error:
            raise self._too_large(records, lanes, error) from error
        except TimeoutError as error:
            waited = f"no acknowledgement within {self._config.delivery_timeout_s:g} s"
            raise self._failure(records, lanes, f"kafka: {waited}") from error
        except (KafkaError, OSError) as error:
            raise self._failure(records, lanes, f"kafka: {describe(error)}") from error
        except BusUnavailable as error:
            raise self._failure(records, lanes, str(error)) from error
        finally:
            if not delivered:
                self._abandon()

    async def check(self) -> float:
        try:
            async with asyncio.timeout(self._config.request_timeout_s):
                producer = await self._connected()
                started = time.perf_counter()
                await producer.client.fetch_all_metadata()
        except TimeoutError as error:
            raise BusUnavailable("kafka: no answer") from error
        except (KafkaError, OSError) as error:
            raise BusUnavailable(f"kafka: {describe(error)}") from error
        return time.perf_counter() - started

    async def missing(self) -> tuple[str, ...]:
        """Our topics that are not there; a broker may make them when they are first used. Raises BusUnavailable."""
        await self.check()
        there = (await self._connected()).client.cluster.topics()
        return tuple(topic for topic in self._topics.all if topic not in there)

    def subscribe(
        self, topics: Sequence[str], group: str | None, *, consumer: str = ""
    ) -> AsyncGenerator[Delivery, None]:
        return deliveries(self._config, topics, group, consumer)

    async def close(self) -> None:
        self._abandon()
        async with self._connecting:
            await self._dismiss()

    async def _connected(self) -> Any:
        """The producer, connected. Raises BusUnavailable with the reason."""
        async with self._connecting:
            await self._dismiss()
            if self._producer is not None:
                return self._producer
            acks = self._config.acks
            producer = AIOKafkaProducer(
                bootstrap_servers=self._config.bootstrap_servers,
                acks=acks if acks == "all" else int(acks),
                enable_idempotence=acks == "all",
                compression_type=None
                if self._config.compression == "none"
                else self._config.compression,
                linger_ms=self._config.linger_ms,
                max_batch_size=self._config.batch_size,
                max_request_size=self._config.max_request_size,
                **self._config.connection(),
            )
            self._abandoned.append(producer)  # until it has started
            try:
                await producer.start()
            except KafkaError as error:
                raise BusUnavailable(await self._config.explain(error)) from error
            self._abandoned.remove(producer)
            self._producer = producer
            return producer

    async def _lanes(self, producer: Any, records: Sequence[Record]) -> list[_Lane]:
        by_partition: dict[tuple[str, int], list[Record]] = defaultdict(list)
        partitions: dict[str, int] = {}
        for record in records:
            if record.topic not in partitions:
                partitions[record.topic] = await _partitions(producer, record.topic)
            choice = partition_of(record.key, partitions[record.topic])
            by_partition[record.topic, choice].append(record)
        return [_Lane(*where, listed) for where, listed in by_partition.items()]

    async def _round(self, producer: Any, lanes: Sequence[_Lane]) -> None:
        """Send the next batch of each partition, side by side, and wait for all to be acknowledged."""
        under_way: dict[asyncio.Future[Any], _Lane] = {}
        for lane in lanes:
            if lane.done == len(lane.records):
                continue
            batch = self._filled(producer.create_batch(), lane)
            future = await producer.send_batch(batch, lane.topic, partition=lane.partition)
            under_way[future] = lane
        try:
            await asyncio.wait(under_way)
        finally:
            for future in under_way:
                future.cancel()  # no effect on one that is done; else nobody would hear its failure
        failures = []
        for future, lane in under_way.items():
            failure = future.exception()
            if failure is None:
                lane.done = lane.sent
            else:
                lane.too_large = isinstance(failure, _TOO_LARGE)
                failures.append(failure)
        if failures:
            raise failures[0]

    def _filled(self, batch: Any, lane: _Lane) -> Any:
        """The batch, with the lane's next records."""
        while lane.sent < len(lane.records) and not (self._one_by_one and lane.sent > lane.done):
            record = lane.records[lane.sent]
            added = batch.append(
                key=record.key.encode(),
                value=record.payload,
                timestamp=int(record.timestamp_s * 1000),
                headers=[(name, value.encode()) for name, value in _headers(record)],
            )
            if added is None:
                break
            lane.sent += 1
        batch.close()  # a closed batch is sent at once: it has all the company that it will get
        return batch

    def _too_large(
        self, records: Sequence[Record], lanes: Sequence[_Lane], error: KafkaError
    ) -> EventRefused | PublishError:
        """The broker's own limit is below ours: a batch is tried event by event, an event is refused."""
        if not self._one_by_one:
            self._one_by_one = True
            return self._failure(records, lanes, f"kafka: batch too large: {describe(error)}")
        refused = [lane.records[lane.done] for lane in lanes if lane.too_large]
        rest = [record for record in _remaining(records, lanes) if record not in refused]
        return EventRefused(
            f"kafka: more bytes than the broker takes: {describe(error)}", refused, rest
        )

    def _failure(
        self, records: Sequence[Record], lanes: Sequence[_Lane], reason: str
    ) -> PublishError:
        remaining = _remaining(records, lanes)
        return PublishError(reason, len(records) - len(remaining), remaining)

    def _abandon(self) -> None:
        if self._producer is not None:
            self._abandoned.append(self._producer)
            self._producer = None

    async def _dismiss(self) -> None:
        """Close abandoned producers without letting them deliver what they still hold."""
        while self._abandoned:
            producer = self._abandoned.pop()
            # stop() would wait for idempotent batches to be delivered, which may be never.
            producer._closed = True
            try:
                async with asyncio.timeout(_FAREWELL_S):
                    await producer._sender.close()
            except (TimeoutError, KafkaError) as error:
                log.debug("producer let go: %s", describe(error))
            finally:
                await producer.client.close()


async def _partitions(producer: Any, topic: str) -> int:
    try:
        return len(await producer.partitions_for(topic))
    except UnknownTopicOrPartitionError as error:
        raise BusUnavailable(
            f"kafka: there is no topic {topic}, and the broker makes none by itself; create it"
        ) from error


def _headers(record: Record) -> tuple[tuple[str, str], ...]:
    return (("event_id", record.event_id), ("type", record.event_type), *record.headers)


def _remaining(records: Sequence[Record], lanes: Sequence[_Lane]) -> list[Record]:
    """What was not acknowledged, in the order it came."""
    done = {id(record) for lane in lanes for record in lane.records[: lane.done]}
    return [record for record in records if id(record) not in done]

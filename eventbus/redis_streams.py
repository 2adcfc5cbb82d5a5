"""Redis Streams: one stream a topic, trimmed to roughly its newest `stream_max_length` entries.

An entry has the fields event_id, type, camera_id and payload; a dead letter has its headers beside
them, as `header:<name>`. Redis acknowledges from memory: what a crash may lose depends on its
append-only file (docs/decisions/0005-event-delivery.md).
"""

import asyncio
import logging
import math
import os
import random
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from eventbus.backoff import Backoff
from eventbus.bus import (
    BusUnavailable,
    Delivery,
    PublishError,
    Record,
    record_of,
    refuse_oversize,
)
from eventbus.events import Event
from eventbus.redis_connection import CancellableConnection
from eventbus.redis_onlooker import HEADER, Onlooker, delivery_of, rows
from eventbus.topics import Topics

log = logging.getLogger(__name__)

_BLOCK_MS = 1000
_ACK_AFTER = 256
_ACK_EVERY_S = 0.5
_FAILURES = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class RedisStreamsConfig:
    """claim_idle_s: after so long without acknowledgement another member of the group takes over."""

    host: str
    port: int = 6379
    db: int = 0
    password: str | None = field(default=None, repr=False)
    max_connections: int = 50
    socket_timeout_s: float = 5.0
    stream_max_length: int = 1_000_000
    max_event_bytes: int = 1_048_576
    claim_idle_s: float = 30.0
    read_count: int = 256

    @property
    def block_ms(self) -> int:
        """How long a read waits for entries: less than the socket does."""
        return min(_BLOCK_MS, int(self.socket_timeout_s * 500))


class RedisStreamsBus:
    def __init__(self, config: RedisStreamsConfig, topics: Topics | None = None) -> None:
        self._config = config
        self._topics = topics or Topics()
        pool = BlockingConnectionPool(
            connection_class=CancellableConnection,
            host=config.host,
            port=config.port,
            db=config.db,
            password=config.password,
            max_connections=config.max_connections,
            timeout=config.socket_timeout_s,
            socket_timeout=config.socket_timeout_s,
            socket_connect_timeout=config.socket_timeout_s,
            socket_keepalive=True,
            # One repeat hides a pooled connection that a restart of the server has closed; more is the outbox's work.
            retry=Retry(NoBackoff(), 1),
        )
        self._redis: Redis = Redis.from_pool(pool)

    @property
    def topics(self) -> Topics:
        return self._topics

    async def publish(self, events: Sequence[Event]) -> None:
        await self.send([record_of(event, self._topics) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        if not records:
            return
        refuse_oversize(records, self._config.max_event_bytes)
        try:
            # One transaction: all or nothing, so that no event overtakes one that failed before it.
            async with self._redis.pipeline(transaction=True) as pipe:
                for record in records:
                    pipe.xadd(
                        record.topic,
                        _fields(record),
                        maxlen=self._config.stream_max_length,
                        approximate=True,
                    )
                await pipe.execute()
        except _FAILURES as error:
            raise PublishError(self._reason(error), 0, records) from error

    async def check(self) -> float:
        started = time.perf_counter()
        try:
            await self._redis.ping()
        except _FAILURES as error:
            raise BusUnavailable(self._reason(error)) from error
        return time.perf_counter() - started

    async def close(self) -> None:
        await self._redis.aclose()

    async def subscribe(
        self, topics: Sequence[str], group: str | None, *, consumer: str = ""
    ) -> AsyncGenerator[Delivery, None]:
        reader = self._reader(topics, group, consumer or f"{socket.gethostname()}-{os.getpid()}")
        rng = random.Random()
        backoff = Backoff()
        attempt = 0
        try:
            while True:
                try:
                    deliveries = await reader.read()
                    attempt = 0
                except _FAILURES as error:
                    delay_s = backoff.delay_s(attempt, rng)
                    attempt += 1
                    log.warning("%s; reading again in %.1f s", self._reason(error), delay_s)
                    await asyncio.sleep(delay_s)
                    continue
                for delivery in deliveries:
                    yield delivery
        finally:
            await reader.acknowledge()

    def _reader(
        self, topics: Sequence[str], group: str | None, consumer: str
    ) -> "_Reader | Onlooker":
        if group is not None:
            return _Reader(self._redis, self._config, topics, group, consumer)
        block_ms = self._config.block_ms
        return Onlooker(self._redis, topics, count=self._config.read_count, block_ms=block_ms)

    def _reason(self, error: Exception) -> str:
        what = str(error) or type(error).__name__
        return f"redis at {self._config.host}:{self._config.port}: {what}"


class _Reader:
    """One member of a consumer group. First what it was given before, then what is new or abandoned."""

    def __init__(
        self,
        redis: Redis,
        config: RedisStreamsConfig,
        topics: Sequence[str],
        group: str,
        consumer: str,
    ) -> None:
        self._redis = redis
        self._config = config
        self._topics = tuple(topics)
        self._group = group
        self._consumer = consumer
        self._ready = False
        self._backlog = dict.fromkeys(self._topics, b"0")  # own unacknowledged, from the oldest
        self._in_hand: set[tuple[str, bytes]] = set()
        self._done: dict[str, list[bytes]] = {topic: [] for topic in self._topics}
        self._ack_at = 0.0
        self._claim_at = time.monotonic() + config.claim_idle_s

    async def acknowledge(self) -> None:
        """Tell Redis what is done, many at once: a round trip for each would be the reader's limit."""
        self._ack_at = time.monotonic() + _ACK_EVERY_S
        for topic, entry_ids in self._done.items():
            if not entry_ids:
                continue
            try:
                await self._redis.xack(topic, self._group, *entry_ids)
            except _FAILURES as error:  # they are delivered again, and dropped by their ids
                log.warning("%s: %d not acknowledged: %s", topic, len(entry_ids), error)
            self._in_hand.difference_update((topic, entry_id) for entry_id in entry_ids)
            entry_ids.clear()

    @property
    def _due_in_s(self) -> float:
        """Until Redis must be told what is done; endless where nothing is."""
        return self._ack_at - time.monotonic() if any(self._done.values()) else math.inf

    async def read(self) -> list[Delivery]:
        """Wait up to a second for entries. Raises RedisError, OSError."""
        if self._due_in_s <= 0:
            await self.acknowledge()
        if not self._ready:
            await self._create_groups()
            self._ready = True
        try:
            if self._backlog:
                return await self._read_backlog()
            if time.monotonic() >= self._claim_at:
                self._claim_at = time.monotonic() + self._config.claim_idle_s / 2
                abandoned = await self._claim()
                if abandoned:
                    return abandoned
            block_ms = int(min(self._config.block_ms, max(1.0, self._due_in_s * 1000)))
            found = await self._read(dict.fromkeys(self._topics, b">"), block_ms)
            return [delivery for _, deliveries in found for delivery in deliveries]
        except ResponseError as error:
            if str(error).startswith("NOGROUP"):  # the stream was deleted, or Redis came back empty
                self._ready = False
            raise

    async def _create_groups(self) -> None:
        for topic in self._topics:
            try:
                await self._redis.xgroup_create(topic, self._group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def _read_backlog(self) -> list[Delivery]:
        ready: list[Delivery] = []
        for topic, deliveries in await self._read(dict(self._backlog), None):
            if deliveries:
                self._backlog[topic] = deliveries[-1].offset.encode()
                ready += deliveries
            else:
                del self._backlog[topic]
        return ready

    async def _read(
        self, positions: dict[str, bytes], block_ms: int | None
    ) -> list[tuple[str, list[Delivery]]]:
        streams: dict[Any, Any] = dict(positions)
        answer: Any = await self._redis.xreadgroup(
            self._group, self._consumer, streams, count=self._config.read_count, block=block_ms
        )
        found: list[tuple[str, list[Delivery]]] = []
        for name, entries in rows(answer):
            topic = name.decode()
            found.append((topic, self._deliveries(topic, entries)))
        return found

    async def _claim(self) -> list[Delivery]:
        """Take over what members of the group left unacknowledged too long."""
        abandoned: list[Delivery] = []
        for topic in self._topics:
            answer: Any = await self._redis.xautoclaim(
                topic,
                self._group,
                self._consumer,
                min_idle_time=int(self._config.claim_idle_s * 1000),
                count=self._config.read_count,
            )
            entries = [entry for entry in answer[1] if (topic, entry[0]) not in self._in_hand]
            abandoned += self._deliveries(topic, entries)
        return abandoned

    def _deliveries(self, topic: str, entries: Sequence[Any]) -> list[Delivery]:
        return [self._delivery(topic, entry_id, fields or {}) for entry_id, fields in entries]

    def _delivery(self, topic: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Delivery:
        self._in_hand.add((topic, entry_id))

        async def ack() -> None:
            done = self._done[topic]
            done.append(entry_id)
            if len(done) >= _ACK_AFTER or self._due_in_s <= 0:
                await self.acknowledge()

        return delivery_of(topic, entry_id, fields, ack)


def _fields(record: Record) -> dict[Any, Any]:
    fields: dict[Any, Any] = {
        "event_id": record.event_id,
        "type": record.event_type,
        "camera_id": record.key,
        "payload": record.payload,
    }
    for name, value in record.headers:
        fields[HEADER + name] = value
    return fields

"""Reading from Kafka: offsets are committed by hand, only up to the first record not acknowledged."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError

from eventbus.backoff import Backoff
from eventbus.bus import Delivery
from eventbus.kafka_config import KafkaConfig, describe

log = logging.getLogger(__name__)

_POLL_MS = 200
_PAGE = 500  # records
_COMMIT_EVERY_S = 1.0
_FAREWELL_S = 5.0
_PARTING = ("event_id", "type")  # headers of every record; a delivery's headers are the others


class Offsets:
    """Per partition: what was delivered and not acknowledged, and so what may be committed."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, dict[int, None]] = {}  # insertion order is offset order
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}

    def delivered(self, partition: TopicPartition, offset: int) -> None:
        self._open.setdefault(partition, {})[offset] = None
        self._next[partition] = offset + 1

    def ack(self, partition: TopicPartition, offset: int) -> None:
        self._open.get(partition, {}).pop(offset, None)

    def committable(self) -> dict[TopicPartition, int]:
        """Partition -> offset of the first record that has not been acknowledged, where it moved."""
        found: dict[TopicPartition, int] = {}
        for partition, end in self._next.items():
            position = next(iter(self._open[partition]), end)
            if position != self._committed.get(partition):
                found[partition] = position
        return found

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        self._committed.update(offsets)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            for table in (self._open, self._next, self._committed):
                table.pop(partition, None)


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """One consumer in its group, or an onlooker outside of any, which commits nothing."""

    def __init__(
        self, config: KafkaConfig, topics: Sequence[str], group: str | None, name: str
    ) -> None:
        self._topics = tuple(topics)
        self._group = group
        self._offsets = Offsets()
        self._commit_at = time.monotonic() + _COMMIT_EVERY_S
        self._committing: asyncio.Task[None] | None = None
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=config.bootstrap_servers,
            group_id=group,
            client_id=name or "fess",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(config.session_timeout_s * 1000),
            heartbeat_interval_ms=int(config.session_timeout_s * 1000 / 3),
            **config.connection(),
        )

    async def start(self) -> None:
        self._consumer.subscribe(topics=self._topics, listener=self)
        await self._consumer.start()

    async def stop(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._commit()
        except TimeoutError:
            log.warning("kafka: offsets not committed: no answer")
        finally:
            await self._consumer.stop()

    async def read(self) -> list[Delivery]:
        self._commit_if_due()
        found = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_PAGE)
        return [self._delivery(record) for records in found.values() for record in records]

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._commit()
        self._offsets.forget(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._offsets.forget(assigned)

    def _delivery(self, record: Any) -> Delivery:
        partition = TopicPartition(record.topic, record.partition)
        self._offsets.delivered(partition, record.offset)

        async def ack() -> None:
            self._offsets.ack(partition, record.offset)
            self._commit_if_due()

        return Delivery(
            record.topic,
            (record.key or b"").decode(errors="replace"),
            f"{record.partition}:{record.offset}",
            record.value or b"",
            ack,
            tuple(
                (name, value.decode(errors="replace"))
                for name, value in record.headers
                if name not in _PARTING
            ),
        )

    def _commit_if_due(self) -> None:
        """Beside the reading: a broker takes at least 5 ms for a commit, in which events would wait."""
        if time.monotonic() < self._commit_at:
            return
        self._commit_at = time.monotonic() + _COMMIT_EVERY_S
        if self._committing is not None:
            if not self._committing.done():
                return
            self._committing.result()  # a bug is heard
        # Owned by the member, which waits for it: a generator cannot hold a TaskGroup over its yields.
        self._committing = asyncio.get_running_loop().create_task(self._commit_now())

    async def _commit(self) -> None:
        """Commit all that may be, after what is being committed."""
        if self._committing is not None:
            await self._committing
        await self._commit_now()

    async def _commit_now(self) -> None:
        offsets = self._offsets.committable()
        if not offsets or self._group is None:
            return
        try:
            await self._consumer.commit(offsets)
        except (KafkaError, IllegalStateError) as error:
            # They are delivered again, to us or to who has the partition now, and dropped by their ids.
            log.warning("kafka: offsets not committed: %s", describe(error))
        else:
            self._offsets.committed(offsets)


async def deliveries(
    config: KafkaConfig, topics: Sequence[str], group: str | None, name: str
) -> AsyncGenerator[Delivery, None]:
    """Deliver for ever; a broker that is away is waited for."""
    rng = random.Random()
    backoff = Backoff()
    attempt = 0
    while True:
        member = _Member(config, topics, group, name)
        try:
            await member.start()
            attempt = 0
            while True:
                for delivery in await member.read():
                    yield delivery
        except (KafkaError, ConsumerStoppedError, OSError) as error:
            delay_s = backoff.delay_s(attempt, rng)
            attempt += 1
            log.warning("kafka: %s; reading again in %.1f s", describe(error), delay_s)
        finally:
            await member.stop()
        await asyncio.sleep(delay_s)

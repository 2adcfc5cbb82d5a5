"""What a consumer cannot use goes aside, as it came, so that the rest of the topic goes on.

The dead letter of a delivery is one record in `<topic>.dlq`: the original bytes, and beside them why,
where from and when. Its id is a pure function of where the delivery lay, so a repeat can be dropped.
"""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid5

from eventbus.backoff import Backoff
from eventbus.bus import Delivery, EventBus, EventRefused, PublishError, Record
from eventbus.events import EVENT_NAMESPACE
from eventbus.topics import Topics

log = logging.getLogger(__name__)

DEAD_LETTER = "dead.letter"
_REASON_LENGTH = 500


class DeadLetters:
    """Of one consumer group."""

    def __init__(
        self,
        bus: EventBus,
        group: str,
        *,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._group = group
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._sleep = sleep
        self._rng = random.Random()

    async def bury(self, delivery: Delivery, reason: str, attempts: int = 1) -> None:
        """Put the delivery aside and acknowledge it; waits for as long as the bus does not take it."""
        letter = self._letter(delivery, reason, attempts)
        log.error("%s %s is a dead letter: %s", delivery.topic, delivery.offset, reason)
        attempt = 0
        while True:
            try:
                await self._bus.send([letter])
                break
            except (
                EventRefused
            ):  # its headers made it too large: its place is told, not its content
                letter = self._letter(delivery, reason, attempts, payload=b"")
            except PublishError as error:
                delay_s = self._backoff.delay_s(attempt, self._rng)
                attempt += 1
                log.warning("%s; dead letter waits %.1f s", error, delay_s)
                await self._sleep(delay_s)
        await delivery.ack()

    def _letter(
        self, delivery: Delivery, reason: str, attempts: int, payload: bytes | None = None
    ) -> Record:
        now_s = self._clock()
        place = "\x1f".join((DEAD_LETTER, self._group, delivery.topic, delivery.offset))
        return Record(
            topic=Topics.dead_letter(delivery.topic),
            key=delivery.key,
            event_id=str(uuid5(EVENT_NAMESPACE, place)),
            event_type=DEAD_LETTER,
            payload=delivery.payload if payload is None else payload,
            timestamp_s=now_s,
            headers=(
                ("reason", reason[:_REASON_LENGTH]),
                ("source_topic", delivery.topic),
                ("source_offset", delivery.offset),
                ("group", self._group),
                ("attempts", str(attempts)),
                ("failed_at", datetime.fromtimestamp(now_s, UTC).isoformat()),
                ("payload_bytes", str(len(delivery.payload))),
                ("payload_sha256", hashlib.sha256(delivery.payload).hexdigest()),
            ),
        )

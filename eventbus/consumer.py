"""Reading events so that each is handled once in effect: repeats dropped, the unusable put aside."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from uuid import UUID

from pydantic import ValidationError

from eventbus.backoff import Backoff
from eventbus.bus import Delivery, EventBus
from eventbus.dead_letter import DeadLetters
from eventbus.events import Event, decode

log = logging.getLogger(__name__)

_MAX_PAYLOAD = 4 * 1024 * 1024


class HandlingFailed(Exception):
    """Raised by a handler for what may succeed another time. Anything else it raises is a bug and escapes."""


class Deduplicator:
    """Remembers the newest `capacity` ids."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._ids: OrderedDict[UUID, None] = OrderedDict()

    def __contains__(self, event_id: UUID) -> bool:
        return event_id in self._ids

    def add(self, event_id: UUID) -> None:
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > self._capacity:
            self._ids.popitem(last=False)


class Consumer:
    """Gives each event of some topics to `handle`, in order within a camera.

    A delivery that is no event, or whose handling failed `max_attempts` times, becomes a dead letter.
    """

    def __init__(
        self,
        bus: EventBus,
        topics: Sequence[str],
        group: str,
        handle: Callable[[Event], Awaitable[None]],
        *,
        name: str = "",
        max_attempts: int = 5,
        deduplicator: Deduplicator | None = None,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._topics = tuple(topics)
        self._group = group
        self._handle = handle
        self._name = name
        self._max_attempts = max_attempts
        self._seen = deduplicator or Deduplicator()
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._rng = random.Random()
        self._dead_letters = DeadLetters(bus, group, backoff=self._backoff, sleep=sleep)
        self.handled = 0
        self.repeats = 0
        self.dead = 0

    async def run(self) -> None:
        """Consume for ever."""
        source = self._bus.subscribe(self._topics, self._group, consumer=self._name)
        async with aclosing(source) as deliveries:
            async for delivery in deliveries:
                await self._consume(delivery)

    async def _consume(self, delivery: Delivery) -> None:
        event = _read(delivery)
        if isinstance(event, str):
            await self._bury(delivery, event, 1)
        elif event.event_id in self._seen:
            self.repeats += 1
            await delivery.ack()
        else:
            failure = await self._attempt(event)
            self._seen.add(event.event_id)
            if failure:
                await self._bury(delivery, failure, self._max_attempts)
            else:
                self.handled += 1
                await delivery.ack()

    async def _attempt(self, event: Event) -> str:
        """Why it could not be handled, after all attempts; empty if it was."""
        failure = ""
        for attempt in range(self._max_attempts):
            if attempt:
                await self._sleep(self._backoff.delay_s(attempt - 1, self._rng))
            try:
                await self._handle(event)
            except HandlingFailed as error:
                failure = f"not handled: {error}"
                log.warning("%s %s: %s", event.event_type, event.event_id, error)
            else:
                return ""
        return failure

    async def _bury(self, delivery: Delivery, reason: str, attempts: int) -> None:
        await self._dead_letters.bury(delivery, reason, attempts)
        self.dead += 1


def _read(delivery: Delivery) -> Event | str:
    """The event, or why it is none."""
    if len(delivery.payload) > _MAX_PAYLOAD:
        return f"{len(delivery.payload)} bytes are too many for an event"
    try:
        return decode(delivery.payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"not an event: {where + ': ' if where else ''}{first['msg']}"

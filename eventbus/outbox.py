"""Between what happens and the bus: takes events at once, and gives them up in order, whatever the bus does.

An event waits in memory for the next batch. When the bus is down, or slower than the events come, it
waits on disk. Each is published at least once; a repeat has the same id. What runs over the bounds is
dropped, the least important first, and counted by cause:

memory_full  the disk does not take events and memory is full
spool_full   the folder reached its bound
damaged      a spool file was torn by a crash, or cannot be read
refused      the bus will never take it: too large, or not serialisable
shutdown     the process ends and neither bus nor disk takes it
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from eventbus.backlog import Backlog
from eventbus.backoff import Backoff
from eventbus.bus import EventBus, EventRefused, PublishError, Record, record_of
from eventbus.events import Event
from eventbus.journal import Entry
from eventbus.outage import Outage
from eventbus.spool import Spool
from eventbus.waiting_room import WaitingRoom

log = logging.getLogger(__name__)

_BATCH_EVERY_S = 0.002
_SPILL_EVERY_S = 0.1
_DISK_RETRY_S = 1.0
_SLOW_S = 1.0


class Outbox:
    """One a process, and one folder each. `put` belongs to the event loop's thread.

    on_sent     called for each record that the bus acknowledged
    on_dropped  called with a topic, a cause and how many events were lost
    """

    def __init__(
        self,
        bus: EventBus,
        directory: Path,
        max_bytes: int,
        *,
        on_sent: Callable[[Record], None],
        on_dropped: Callable[[str, str, int], None],
        memory_events: int = 20_000,
        memory_bytes: int = 16 * 1024 * 1024,
        batch_events: int = 500,
        batch_bytes: int = 512 * 1024,
        backoff: Backoff | None = None,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bus = bus
        self._on_sent = on_sent
        self._on_dropped = on_dropped
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._backoff = backoff or Backoff()
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._rng = random.Random()
        self._room = WaitingRoom(
            Backlog(memory_events, memory_bytes),
            Spool(directory, max_bytes, bus.topics),
            self._dropped,
        )
        self._hand: list[Entry] = []  # being published
        self._sending_since_s: float | None = None
        self._batch_at_s = 0.0
        self._publishing = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._spill_wanted = asyncio.Event()
        self._bus_trouble = ""
        self._outage = Outage()

    @property
    def waiting(self) -> int:
        """Events not acknowledged yet, in memory and on disk."""
        return self._room.events

    @property
    def at_risk(self) -> int:
        """Those of the waiting that are in memory only: a crash at this moment would lose them."""
        return self._room.at_risk

    @property
    def oldest_age_s(self) -> float:
        """Seconds since the oldest waiting event was captured; 0 where none waits."""
        moments = [entry.record.timestamp_s for entry in self._hand[:1]]
        if self._room.oldest_s is not None:
            moments.append(self._room.oldest_s)
        return max(0.0, self._wall_clock() - min(moments)) if moments else 0.0

    @property
    def degraded(self) -> str:
        """What keeps events from where they should go; empty when all is well."""
        return "; ".join(trouble for trouble in (self._bus_trouble, self._room.trouble) if trouble)

    def put(self, event: Event) -> None:
        """Hand over; never waits, never raises for a bus or disk that is down."""
        try:
            record = record_of(event, self._bus.topics)
        except EventRefused as refusal:
            log.error("%s", refusal)
            self._dropped(event.event_type, "refused", 1)
            return
        self._room.put(record)
        self._arrived.set()
        if self._bus_trouble or self._room.half_full:
            self._spill_wanted.set()

    async def open(self) -> bool:
        """Take the folder; what the last run left there comes first. False where it cannot be had now."""
        return await self._room.open()

    async def run(self) -> None:
        """Publish for ever, what the last run left first."""
        if not await self.open():
            self._spill_wanted.set()  # which tries again
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_for_ever(), name="outbox:publish")
            tasks.create_task(self._spill_for_ever(), name="outbox:spill")

    async def drain(self, timeout_s: float) -> None:
        """Before the process ends: publish what can be published in time, and write the rest to disk."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.waiting and await self._publish_batch():
                    pass
        except TimeoutError:
            log.warning("%d events were not published in time", self.waiting)
        if self._room.in_memory and not await self._room.spill(sync=True):
            log.error("%s; %d events are lost", self._room.trouble, self._room.in_memory)
            self._room.give_up("shutdown")

    async def deliver_rest(self) -> int:
        """Publish what an earlier process left in the folder, however long the bus is away; returns how many.

        0 where another process holds the folder.
        """
        if not await self.open():
            return 0
        left, attempt = self.waiting, 0
        while self._room.events:
            if await self._publish_batch():
                attempt = 0
                continue
            await self._sleep(self._backoff.delay_s(attempt, self._rng))
            attempt += 1
        return left

    def close(self) -> None:
        """Let go of the folder, for another process to take."""
        self._room.close()

    async def _publish_for_ever(self) -> None:
        attempt = 0
        while True:
            if not self._room.events:
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather()
            waiting = self.waiting
            if await self._publish_batch():
                self._outage.over(self.waiting)
                attempt = 0
                continue
            self._outage.failed(self._bus_trouble, self.waiting)
            self._spill_wanted.set()
            attempt = 0 if self.waiting < waiting else attempt
            delay_s = self._backoff.delay_s(attempt, self._rng)
            attempt += 1
            await self._sleep(delay_s)

    async def _gather(self) -> None:
        """Let company come where events follow one another closely: a call costs as much as many events in it."""
        early_s = self._batch_at_s - time.monotonic()
        if early_s > 0 and self._room.in_memory < self._batch_events:
            await asyncio.sleep(early_s)
        self._batch_at_s = time.monotonic() + _BATCH_EVERY_S

    async def _publish_batch(self) -> bool:
        """Publish what is oldest. False where the bus did not take all of it."""
        async with self._publishing:
            self._hand = await self._room.take(self._batch_events, self._batch_bytes)
            self._sending_since_s = time.monotonic()
            try:
                await self._send_hand()
            finally:
                self._sending_since_s = None
                hand, self._hand = self._hand, []
                await self._room.settle(hand, to_disk=bool(self._bus_trouble))
            return not self._bus_trouble

    async def _send_hand(self) -> None:
        """Publish the hand, and keep in it what was not acknowledged."""
        while self._hand:
            try:
                await self._bus.send([entry.record for entry in self._hand])
            except PublishError as error:
                self._keep(error.remaining)
                self._bus_trouble = error.reason
                return
            except EventRefused as refusal:
                log.error("%s", refusal)
                for record in refusal.refused:
                    self._dropped(record.event_type, "refused", 1)
                self._keep(refusal.remaining, refusal.refused)
            else:
                self._keep(())
            self._bus_trouble = ""

    def _keep(self, remaining: Sequence[Record], refused: Sequence[Record] = ()) -> None:
        left = {id(record) for record in remaining}
        lost = {id(record) for record in refused}
        hand, self._hand = self._hand, []
        for entry in hand:
            if id(entry.record) in left:
                self._hand.append(entry)
            elif id(entry.record) not in lost:
                self._on_sent(entry.record)

    async def _spill_for_ever(self) -> None:
        """Write to disk what a bus that is down or slow leaves in memory."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SLOW_S):
                    await self._spill_wanted.wait()
            since_s = self._sending_since_s
            slow = since_s is not None and time.monotonic() - since_s > _SLOW_S
            if not self._spill_wanted.is_set() and not slow:
                continue
            self._spill_wanted.clear()
            # A bus that is only slow may share the disk with us: then syncing would slow it further.
            if await self._room.spill(sync=bool(self._bus_trouble)):
                await self._sleep(_SPILL_EVERY_S)
            else:
                await self._sleep(_DISK_RETRY_S)
                self._spill_wanted.set()

    def _dropped(self, event_type: str, cause: str, count: int) -> None:
        self._on_dropped(self._bus.topics.of(event_type), cause, count)

"""Where events wait for the bus: in memory, and behind one another on disk when that is wiser.

Entries leave in the order of hand-over, which their sequences tell, wherever they are meanwhile.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from eventbus.background import in_thread, seen_through
from eventbus.backlog import Backlog
from eventbus.bus import Record
from eventbus.journal import Entry
from eventbus.spool import Spool
from eventbus.topics import PRIORITY

log = logging.getLogger(__name__)

_SAY_EVERY_S = 1.0


class WaitingRoom:
    """`put` belongs to the event loop's thread. on_dropped: event type, cause, how many."""

    def __init__(
        self, backlog: Backlog, spool: Spool, on_dropped: Callable[[str, str, int], None]
    ) -> None:
        self._backlog = backlog
        self._spool = spool
        self._on_dropped = on_dropped
        self._sequence = 0
        self._opened = False
        self._moving = asyncio.Lock()  # while held, entries are neither here nor there
        self._in_motion = 0
        self._out_of_memory = 0  # taken from there and not settled
        self._out_of_disk = False
        self._unsaid: Counter[tuple[str, str]] = Counter()
        self._say_at_s = 0.0
        self.trouble = ""  # why the disk does not take events; empty when it does

    @property
    def events(self) -> int:
        """Put and not settled yet, wherever they are."""
        on_the_way = self._out_of_memory + self._in_motion
        return self._backlog.events + on_the_way + self._spool.waiting

    @property
    def in_memory(self) -> int:
        return self._backlog.events

    @property
    def at_risk(self) -> int:
        return self._backlog.events + self._out_of_memory + self._in_motion

    @property
    def half_full(self) -> bool:
        """Of memory."""
        return self._backlog.half_full

    @property
    def oldest_s(self) -> float | None:
        """When the oldest was captured, seconds since the epoch; None where none waits."""
        known = [at for at in (self._backlog.oldest_s, self._spool.oldest_s) if at is not None]
        return min(known, default=None)

    def put(self, record: Record) -> None:
        self._sequence += 1
        dropped = self._backlog.put(Entry(self._sequence, record))
        if dropped is not None:
            self._count("memory_full", dropped)

    async def open(self) -> bool:
        """Take the folder; what an earlier run left there comes first. False where the disk does not answer."""
        async with self._moving:
            return await self._open()

    def close(self) -> None:
        """Let go of the folder, for another process to take."""
        self._spool.close()
        self._opened = False

    async def take(self, count: int, max_bytes: int) -> list[Entry]:
        """The oldest, until `settle`; one take at a time. Cancelled, it has taken nothing."""
        async with self._moving:
            taken = self._backlog.take(count, max_bytes, before=self._spool.first)
            self._out_of_memory = len(taken)
            self._out_of_disk = not taken and self._spool.first is not None
            if not self._out_of_disk:
                return taken
            taking = in_thread(self._spool.take, count, max_bytes, self._backlog.first)
            try:
                await seen_through(taking)
            except asyncio.CancelledError:
                self._spool.settle(taking.result())
                raise
            self._count("damaged", self._spool.damage())
            return taking.result()

    async def settle(self, remaining: list[Entry], *, to_disk: bool) -> None:
        """End a take: `remaining` waits on, in front. to_disk: where a crash does not lose it, if it can be."""
        if self._out_of_disk:
            await self._settle_on_disk(remaining)
        elif to_disk and self._opened and remaining:
            await self._store_in_front(remaining)
        else:
            self._return(remaining)
        self._out_of_memory = 0

    async def spill(self, *, sync: bool) -> bool:
        """Move what is in memory to the disk, the most important first. False where the disk refuses.

        sync: a power cut does not lose it either, which costs the disk dearly.
        """
        async with self._moving:
            if not self._opened and not await self._open():
                return False
            for kind in reversed(PRIORITY):
                while batch := self._backlog.take_kind(kind, self._spool.file_bytes):
                    if not await self._store(kind, batch, sync):
                        return False
            self.trouble = ""
            return True

    def give_up(self, cause: str) -> None:
        """Drop what is in memory, and count it."""
        self._count(cause, self._backlog.clear())

    async def _open(self) -> bool:
        opening = in_thread(self._spool.open)
        try:
            await seen_through(opening)
        finally:
            try:
                last = opening.result()
            except OSError as error:
                self._failed(error)
            else:
                self._opened = True
                self._sequence += last
                self._backlog.shift(last)
                self._count("damaged", self._spool.damage())
        if self._spool.waiting:
            log.info("%d events of an earlier run are published first", self._spool.waiting)
        return self._opened

    async def _store_in_front(self, batch: list[Entry]) -> None:
        try:
            await self._moving.acquire()
        except asyncio.CancelledError:
            self._return(batch)
            raise
        left = {
            kind: [entry for entry in batch if entry.record.event_type == kind] for kind in PRIORITY
        }
        try:
            for kind in reversed(PRIORITY):
                part = left.pop(kind)
                self._out_of_memory -= len(part)
                if part:
                    await self._store(kind, part, sync=True)
        finally:  # cancelled: each part is either stored or returned
            for part in left.values():
                self._return(part)
            self._moving.release()

    def _return(self, batch: Sequence[Entry]) -> None:
        """To memory, where a put may just have needed the room."""
        self._out_of_memory = 0
        self._count("memory_full", self._backlog.put_back(batch))

    async def _store(self, kind: str, batch: list[Entry], sync: bool) -> bool:
        """Write a batch; back to memory with it where the disk does not take it."""
        self._in_motion = len(batch)
        writing = in_thread(self._spool.append, kind, batch, sync=sync)
        try:
            await seen_through(writing)
        finally:
            self._in_motion = 0
            try:
                self._count("spool_full", writing.result())
                stored = True
            except OSError as error:
                self._failed(error)
                self._count("memory_full", self._backlog.put_back(batch))
                stored = False
        return stored

    async def _settle_on_disk(self, remaining: Sequence[Entry]) -> None:
        settling = in_thread(self._spool.settle, remaining)
        try:
            await seen_through(settling)
        finally:
            try:
                self._count("spool_full", settling.result())
            except (
                OSError
            ) as error:  # the file stays and is sent again: repeats, which have their ids
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        reason = f"outbox folder: {error.strerror or error}"
        if reason != self.trouble:
            log.error("%s; events stay in memory", reason)
        self.trouble = reason

    def _count(self, cause: str, lost: Mapping[str, int]) -> None:
        for kind, count in lost.items():
            if count:
                self._unsaid[kind, cause] += count
                self._on_dropped(kind, cause, count)
        now_s = time.monotonic()
        if self._unsaid and now_s >= self._say_at_s:  # a flood of drops is no flood of lines
            self._say_at_s = now_s + _SAY_EVERY_S
            said, self._unsaid = self._unsaid, Counter()
            for (kind, why), count in said.items():
                log.warning("%d %s events dropped: %s", count, kind, why)

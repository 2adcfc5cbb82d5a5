"""An event bus inside the process: for dry runs, and for tests of what stands before a bus."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from eventbus.bus import Delivery, Record, record_of, refuse_oversize
from eventbus.events import Event
from eventbus.topics import Topics


@dataclass(slots=True)
class _Log:
    """One topic: the newest records, the first of which has the offset `first`."""

    records: deque[Record] = field(default_factory=deque)
    first: int = 0

    @property
    def end(self) -> int:
        return self.first + len(self.records)


@dataclass(slots=True)
class _Cursor:
    """How far one group is in one topic; `returned` was delivered before and never acknowledged."""

    position: int = 0
    returned: set[int] = field(default_factory=set)


class MemoryBus:
    """Keeps the newest `max_events` of each topic; what leaves unread is counted in `dropped`."""

    def __init__(
        self, topics: Topics | None = None, *, max_events: int = 10_000, max_bytes: int = 1_048_576
    ) -> None:
        self._topics = topics or Topics()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._logs: dict[str, _Log] = {}
        self._cursors: dict[tuple[str, str], _Cursor] = {}
        self._arrival = asyncio.Event()
        self.dropped = 0

    @property
    def topics(self) -> Topics:
        return self._topics

    async def publish(self, events: Sequence[Event]) -> None:
        await self.send([record_of(event, self._topics) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        refuse_oversize(records, self._max_bytes)
        for record in records:
            log = self._logs.setdefault(record.topic, _Log())
            log.records.append(record)
            if len(log.records) > self._max_events:
                log.records.popleft()
                log.first += 1
                self.dropped += 1
        self._arrival.set()

    async def check(self) -> float:
        return 0.0

    async def close(self) -> None:
        """Nothing is held open."""

    def records(self, topic: str) -> tuple[Record, ...]:
        """What the topic holds, oldest first."""
        return tuple(self._logs[topic].records) if topic in self._logs else ()

    async def subscribe(
        self, topics: Sequence[str], group: str | None, *, consumer: str = ""
    ) -> AsyncGenerator[Delivery, None]:
        taken: set[tuple[str, int]] = set()
        onlooker = group is None
        group = group or f"onlooker {id(taken)}"
        try:
            while True:
                self._arrival.clear()
                found = self._next(topics, group)
                if found is None:
                    await self._arrival.wait()
                    continue
                topic, offset, record = found
                taken.add((topic, offset))

                async def ack(topic: str = topic, offset: int = offset) -> None:
                    taken.discard((topic, offset))

                yield Delivery(topic, record.key, str(offset), record.payload, ack, record.headers)
        finally:
            for topic, offset in taken:  # not acknowledged: the next member begins there
                self._cursors[topic, group].returned.add(offset)
            if onlooker:
                self._cursors = {key: at for key, at in self._cursors.items() if key[1] != group}

    def _next(self, topics: Sequence[str], group: str) -> tuple[str, int, Record] | None:
        for topic in topics:
            log = self._logs.get(topic)
            if log is None:
                continue
            cursor = self._cursors.setdefault((topic, group), _Cursor())
            cursor.position = max(cursor.position, log.first)
            cursor.returned = {offset for offset in cursor.returned if offset >= log.first}
            if cursor.returned:
                offset = min(cursor.returned)
                cursor.returned.discard(offset)
            elif cursor.position < log.end:
                offset = cursor.position
                cursor.position += 1
            else:
                continue
            return topic, offset, log.records[offset - log.first]
        return None

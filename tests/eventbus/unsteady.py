"""A memory bus behind a line that can be cut, slow to the point of silence, or lose its answers."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from eventbus.bus import BusUnavailable, Delivery, PublishError, Record, record_of
from eventbus.events import Event, decode
from eventbus.memory import MemoryBus
from eventbus.topics import Topics
from tests.eventbus.reports import number_of

Line = Literal["up", "down", "silent", "half", "deaf"]


class UnsteadyBus:
    """What its line may be.

    down    refuses
    silent  answers nothing until that changes
    half    takes half of a call
    deaf    takes all, and says that it took nothing
    """

    def __init__(self, line: Line = "up", max_bytes: int = 1 << 20) -> None:
        self._line: Line = line
        self._changed = asyncio.Event()
        self.memory = MemoryBus(max_events=100_000, max_bytes=max_bytes)
        self.calls = 0

    @property
    def line(self) -> Line:
        return self._line

    @line.setter
    def line(self, line: Line) -> None:
        self._line = line
        self._changed.set()

    @property
    def topics(self) -> Topics:
        return self.memory.topics

    async def publish(self, events: Sequence[Event]) -> None:
        await self.send([record_of(event, self.topics) for event in events])

    async def send(self, records: Sequence[Record]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        while self.line == "silent":
            self._changed.clear()
            await self._changed.wait()
        line = self.line
        taken = {"up": len(records), "down": 0, "half": len(records) // 2, "deaf": len(records)}
        kept = taken[line]
        await self.memory.send(records[:kept])
        if line == "deaf":
            raise PublishError("the answer was lost", 0, records)
        if kept < len(records):
            raise PublishError("the line is cut", kept, records[kept:])

    async def check(self) -> float:
        if self.line != "up":
            raise BusUnavailable("the line is cut")
        return 0.0

    def subscribe(
        self, topics: Sequence[str], group: str | None, *, consumer: str = ""
    ) -> AsyncGenerator[Delivery, None]:
        return self.memory.subscribe(topics, group, consumer=consumer)

    async def close(self) -> None:
        await self.memory.close()

    def seen(self, topic: str) -> list[tuple[str, int]]:
        """(camera, number) of each event in the topic, repeats dropped."""
        events = {record.event_id: decode(record.payload) for record in self.memory.records(topic)}
        return [(event.camera_id, number_of(event)) for event in events.values()]

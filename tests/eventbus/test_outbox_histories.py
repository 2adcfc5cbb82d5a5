"""The outbox under any history: whatever happens in whatever order, nothing is lost and order holds."""

import asyncio
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.backoff import Backoff
from eventbus.outbox import Outbox
from tests.eventbus.reports import KINDS
from tests.eventbus.unsteady import UnsteadyBus
from tests.eventbus.until import until

put = st.tuples(st.just("put"), st.integers(0, 3), st.integers(0, 2), st.integers(1, 40))
line = st.tuples(st.just("line"), st.sampled_from(["up", "down", "half", "deaf", "silent"]))
wait = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.002, 0.02]))
restart = st.tuples(st.just("restart"), st.sampled_from([0.0, 0.01]))
history = st.lists(st.one_of(put, put, line, wait, restart), max_size=25)


async def swift_sleep(_: float) -> None:
    await asyncio.sleep(0.001)


@dataclass
class World:
    folder: Path
    bus: UnsteadyBus = field(default_factory=UnsteadyBus)
    put: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    dropped: list[tuple[str, str, int]] = field(default_factory=list)
    number: int = 0

    def outbox(self) -> Outbox:
        return Outbox(
            self.bus,
            self.folder,
            1 << 24,
            on_sent=lambda record: None,
            on_dropped=lambda *what: self.dropped.append(what),
            memory_events=400,
            batch_events=7,
            backoff=Backoff(0.001, 0.002),
            sleep=swift_sleep,
        )

    async def live(self, steps: list[tuple[object, ...]]) -> None:
        """One life of the process: until a restart, or the end of the history."""
        box = self.outbox()
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(box.run())
            while steps:
                match steps.pop(0):
                    case ("put", int(kind), int(camera), int(events)):
                        self._put(box, kind, f"camera-{camera}", events)
                        await asyncio.sleep(0.01)  # memory is small: give the disk its turn
                    case ("line", line):
                        self.bus.line = line  # type: ignore[assignment]  # one of Line, by its strategy
                    case ("wait", float(seconds)):
                        await asyncio.sleep(seconds)
                    case ("restart", float(seconds)):
                        break
            else:
                await self._recover(box)
            run.cancel()
        await box.drain(0.005)
        box.close()

    def _put(self, box: Outbox, kind: int, camera_id: str, events: int) -> None:
        for _ in range(events):
            self.number += 1
            event = KINDS[kind](camera_id, self.number)
            self.put[self.bus.topics.of(event.event_type), camera_id].append(self.number)
            box.put(event)

    async def _recover(self, box: Outbox) -> None:
        self.bus.line = "up"
        await until(lambda: not box.waiting and not any(self.folder.glob("*.spool")))

    def seen(self) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for topic in self.bus.topics.all:
            for camera_id, number in self.bus.seen(topic):
                found[topic, camera_id].append(number)
        return found


@given(history)
@settings(max_examples=60, deadline=None)
def test_every_event_arrives_and_a_cameras_events_arrive_in_order(
    steps: list[tuple[object, ...]],
) -> None:
    async def play() -> World:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            todo = list(steps)
            while todo:
                await world.live(todo)
            await world.live([])  # what the last life left, if it ended with a restart
            return world

    world = asyncio.run(play())
    assert world.dropped == []
    assert world.seen() == world.put

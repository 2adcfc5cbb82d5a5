"""Events in memory, in order, below a bound; beyond it the least important leave first."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

from eventbus.journal import Entry
from eventbus.topics import PRIORITY


class Backlog:
    """One queue for each event type, so that the oldest of the least important is at hand."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._lanes: dict[str, deque[Entry]] = {kind: deque() for kind in PRIORITY}
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.events = 0
        self.size_bytes = 0

    @property
    def half_full(self) -> bool:
        return self.events * 2 > self._max_events or self.size_bytes * 2 > self._max_bytes

    @property
    def oldest_s(self) -> float | None:
        heads = [lane[0].record.timestamp_s for lane in self._lanes.values() if lane]
        return min(heads, default=None)

    def put(self, entry: Entry) -> Counter[str] | None:
        """Add at the end; returns how many of each type that cost, None if nothing."""
        self._lanes[entry.record.event_type].append(entry)
        self._count(entry, 1)
        return self._trim() if self._over else None

    def put_back(self, batch: Sequence[Entry]) -> Counter[str]:
        """Return in front what was taken; returns how many of each type that cost."""
        for entry in reversed(batch):
            self._lanes[entry.record.event_type].appendleft(entry)
            self._count(entry, 1)
        return self._trim()

    @property
    def first(self) -> int | None:
        """The lowest sequence."""
        return min((lane[0].sequence for lane in self._lanes.values() if lane), default=None)

    def take(self, count: int, max_bytes: int, before: int | None) -> list[Entry]:
        """The oldest, in order of hand-over, with a sequence below `before`."""
        taken: list[Entry] = []
        size = 0
        while len(taken) < count:
            heads = [lane for lane in self._lanes.values() if lane]
            if not heads:
                break
            lane = min(heads, key=lambda lane: lane[0].sequence) if len(heads) > 1 else heads[0]
            size += len(lane[0].record.payload)
            if (taken and size > max_bytes) or (before is not None and lane[0].sequence >= before):
                break
            taken.append(self._pop(lane))
        return taken

    def take_kind(self, kind: str, max_bytes: int) -> list[Entry]:
        """The oldest of one event type."""
        lane = self._lanes[kind]
        taken: list[Entry] = []
        size = 0
        while lane and size < max_bytes:
            size += len(lane[0].record.payload)
            taken.append(self._pop(lane))
        return taken

    def shift(self, by: int) -> None:
        """Add to every sequence: the spool's entries come first."""
        for lane in self._lanes.values():
            moved = [replace(entry, sequence=entry.sequence + by) for entry in lane]
            lane.clear()
            lane.extend(moved)

    def clear(self) -> Counter[str]:
        """Forget everything; returns how many of each type that were."""
        lost = Counter({kind: len(lane) for kind, lane in self._lanes.items()})
        for lane in self._lanes.values():
            lane.clear()
        self.events = self.size_bytes = 0
        return +lost

    @property
    def _over(self) -> bool:
        return self.events > self._max_events or self.size_bytes > self._max_bytes

    def _trim(self) -> Counter[str]:
        dropped: Counter[str] = Counter()
        while self._over:
            kind, lane = next((kind, lane) for kind, lane in self._lanes.items() if lane)
            self._pop(lane)
            dropped[kind] += 1
        return dropped

    def _pop(self, lane: deque[Entry]) -> Entry:
        entry = lane.popleft()
        self._count(entry, -1)
        return entry

    def _count(self, entry: Entry, sign: int) -> None:
        self.events += sign
        self.size_bytes += sign * len(entry.record.payload)

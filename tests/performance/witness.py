"""A consumer of the bus as any other program is one, which notes when each event reached it."""

import time
from collections import defaultdict
from contextlib import aclosing
from dataclasses import dataclass

from eventbus.bus import EventBus
from eventbus.events import Event, MotionDetectionEvent, StageLatencies, decode


@dataclass(frozen=True, slots=True)
class Sighting:
    """age_s: from the decoded frame to here."""

    event: Event
    age_s: float

    @property
    def stages(self) -> StageLatencies | None:
        return self.event.evidence.latencies if self.event.evidence else None


class Witness:
    """Notes what comes while `recording`."""

    def __init__(self, bus: EventBus, group: str) -> None:
        self._bus = bus
        self._group = group
        self.recording = False
        self.sightings: list[Sighting] = []
        self.passed = 0

    async def run(self) -> None:
        """Read every topic until cancelled."""
        source = self._bus.subscribe(self._bus.topics.all, self._group)
        async with aclosing(source) as deliveries:
            async for delivery in deliveries:
                now_s = time.time()
                event = decode(delivery.payload)
                if self.recording:
                    self.sightings.append(Sighting(event, now_s - event.timestamp.timestamp()))
                else:
                    self.passed += 1
                await delivery.ack()

    def lags_s(self, stream_fps: float) -> list[float]:
        """Of motion events: by how much later than the quickest of its camera each frame was decoded."""
        ways: dict[str, list[float]] = defaultdict(list)
        for seen in self.sightings:
            if isinstance(seen.event, MotionDetectionEvent):
                due_s = seen.event.frame_number / stream_fps
                ways[seen.event.camera_id].append(seen.event.timestamp.timestamp() - due_s)
        return [way - min(of_one) for of_one in ways.values() for way in of_one]

    def ages_s(self, *, motion: bool) -> list[float]:
        """Of motion events, or of all the others that report a frame."""
        return [
            seen.age_s
            for seen in self.sightings
            if isinstance(seen.event, MotionDetectionEvent) is motion
        ]

"""What the process shows of itself: written by the pipeline, read by the page, the terminal table and health.

Used from the event loop only. Showing a view stores one reference; pixels are touched by whoever watches.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from eventbus.events import Event, MotionDetectionEvent
from orchestrator.camera import Camera, CameraState
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Coverage

Kind = Literal["person", "known", "unauthorised", "stranger", "object"]

EVENTS_KEPT = 200
LATENCIES_KEPT = 512
RATE_WINDOW_S = 5.0
RATE_STEP_S = 0.5
VIEW_FRESH_S = 5.0  # longer than the forced look of the motion gate: a still scene keeps its people


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """One box of a view.

    xyxy        float32 (4,)  corners in pixels of the source frame, origin top left
    label       the person's name once it is decided, "stranger", or the object's class
    kind        `person` is one whose identity is still open
    confidence  0..1: of the identity for known, unauthorised and stranger, else of the detection
    """

    xyxy: NDArray[np.float32]
    label: str
    track_id: int
    kind: Kind
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An inspected frame and what was found in it."""

    frame: Frame
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera at one instant.

    address      the URL without credentials and query
    since        when it entered this state, UTC
    fps          frames inspected a second over the last seconds, from the ledger
    decoded_fps  frames decoded a second, likewise
    width        of the newest view's frame, in pixels; 0 before the first
    latency_*    seconds from the decoded frame to its events, over the last frames; None before the first
    persons      people in the newest view, 0 once it is old
    names        people recognised in it, in alphabetical order
    view_number  of the newest view; grows with each, over all cameras
    """

    camera_id: str
    address: str
    state: CameraState
    detail: str
    since: datetime
    fps: float
    decoded_fps: float
    width: int
    height: int
    coverage: Coverage
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    persons: int
    names: tuple[str, ...]
    view_number: int


STATUSES: TypeAdapter[tuple[CameraStatus, ...]] = TypeAdapter(tuple[CameraStatus, ...])


@dataclass(slots=True, eq=False)
class _Entry:
    camera: Camera
    ledger: CameraLedger
    since: datetime
    state: CameraState = CameraState.CONNECTING
    detail: str = ""
    view: View | None = None
    view_s: float = -math.inf
    view_number: int = 0
    watchers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    # (clock, decoded, inspected); one sample older than the window is kept to measure from
    samples: deque[tuple[float, int, int]] = field(
        default_factory=lambda: deque(maxlen=int(RATE_WINDOW_S / RATE_STEP_S) + 3)
    )


class Board:
    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._shown = 0  # over all cameras: a camera that is added anew never repeats a number
        self._recorded = 0
        # A motion event comes several times a second and would push out the few that people look for.
        self._motion: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT)
        self._notable: deque[tuple[int, Event]] = deque(maxlen=EVENTS_KEPT)

    def add_camera(self, camera: Camera, ledger: CameraLedger) -> None:
        """Show a camera; one that is shown already starts anew."""
        self.remove_camera(camera.camera_id)
        entry = _Entry(camera, ledger, self._now())
        self._entries[camera.camera_id] = entry
        self._sample(entry)

    def remove_camera(self, camera_id: str) -> None:
        """Forget a camera; whoever waits for its next view gets KeyError."""
        entry = self._entries.pop(camera_id, None)
        if entry is not None:
            entry.changed.set()

    def set_state(self, camera_id: str, state: CameraState, detail: str) -> None:
        """A camera that was removed meanwhile is passed over, here and below."""
        entry = self._entries.get(camera_id)
        if entry is None:
            return
        if entry.state != state:
            entry.state, entry.since = state, self._now()
        entry.detail = detail

    def show(self, camera_id: str, view: View) -> None:
        """Replace the camera's newest view."""
        entry = self._entries.get(camera_id)
        if entry is None:
            return
        entry.view, entry.view_s = view, self._clock()
        self._shown += 1
        entry.view_number = self._shown
        self._sample(entry)
        if entry.watchers:
            entry.changed.set()
            entry.changed = asyncio.Event()

    def record_latency(self, camera_id: str, seconds: float) -> None:
        entry = self._entries.get(camera_id)
        if entry is not None:
            entry.latencies.append(seconds)

    def record_event(self, event: Event) -> None:
        kept = self._motion if isinstance(event, MotionDetectionEvent) else self._notable
        kept.append((self._recorded, event))
        self._recorded += 1

    def view(self, camera_id: str) -> tuple[int, View | None]:
        """The newest view and its number. Raises KeyError for a camera that is not shown."""
        entry = self._entries[camera_id]
        return entry.view_number, entry.view

    async def next_view(self, camera_id: str, after: int) -> tuple[int, View]:
        """Wait for a view with a number above `after`; those in between are skipped.

        Raises KeyError for a camera that is not shown, or not any more.
        """
        entry = self._entries[camera_id]
        entry.watchers += 1
        try:
            while entry.view is None or entry.view_number <= after:
                await entry.changed.wait()
                if self._entries.get(camera_id) is not entry:
                    raise KeyError(camera_id)
            return entry.view_number, entry.view
        finally:
            entry.watchers -= 1

    def events(self, limit: int = EVENTS_KEPT, *, motion: bool = True) -> tuple[Event, ...]:
        """The last events, newest first. People, alerts and states outlive the stream of motion events."""
        kept = [*self._notable, *(self._motion if motion else ())]
        kept.sort(key=lambda pair: pair[0], reverse=True)
        return tuple(event for _, event in kept[:limit])

    def cameras(self) -> tuple[CameraStatus, ...]:
        """Every camera's status, in order of camera_id."""
        return tuple(self._status(entry) for _, entry in sorted(self._entries.items()))

    def ledgers(self) -> tuple[tuple[str, Coverage], ...]:
        """Every camera's account. Safe from any thread."""
        return tuple((name, entry.ledger.coverage()) for name, entry in list(self._entries.items()))

    def _sample(self, entry: _Entry) -> None:
        """Note the ledger at most every RATE_STEP_S, so that a rate can be measured whoever asks and when."""
        now = self._clock()
        if entry.samples and now - entry.samples[-1][0] < RATE_STEP_S:
            return
        coverage = entry.ledger.coverage()
        entry.samples.append((now, coverage.decoded, coverage.inspected))
        while len(entry.samples) > 1 and entry.samples[1][0] <= now - RATE_WINDOW_S:
            entry.samples.popleft()

    def _status(self, entry: _Entry) -> CameraStatus:
        self._sample(entry)
        now, coverage = self._clock(), entry.ledger.coverage()
        started_s, decoded, inspected = entry.samples[0]
        elapsed_s = now - started_s
        live = entry.state is CameraState.ONLINE and now - entry.view_s <= VIEW_FRESH_S
        marks = entry.view.marks if entry.view and live else ()
        picture = entry.view.frame.picture if entry.view else None
        latencies = sorted(entry.latencies)
        return CameraStatus(
            camera_id=entry.camera.camera_id,
            address=entry.camera.address,
            state=entry.state,
            detail=entry.detail,
            since=entry.since,
            fps=(coverage.inspected - inspected) / elapsed_s if elapsed_s > 0 else 0.0,
            decoded_fps=(coverage.decoded - decoded) / elapsed_s if elapsed_s > 0 else 0.0,
            width=picture.width if picture else 0,
            height=picture.height if picture else 0,
            coverage=coverage,
            latency_p50_s=_percentile(latencies, 0.50),
            latency_p95_s=_percentile(latencies, 0.95),
            latency_p99_s=_percentile(latencies, 0.99),
            persons=sum(mark.kind != "object" for mark in marks),
            names=tuple(sorted({m.label for m in marks if m.kind in ("known", "unauthorised")})),
            view_number=entry.view_number,
        )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank: a value that was measured, never one in between."""
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

"""The coverage ledger: what became of every decoded frame, per camera, exactly.

decoded = inspected + skipped{sampling, no_motion, busy, stale, error} + pending
Pending is what is on its way at this instant, never more than a few; once a camera has stopped it is 0.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Skip(StrEnum):
    """Why a decoded frame was not inspected."""

    SAMPLING = "sampling"  # more frames than the wanted rate
    NO_MOTION = "no_motion"  # nothing moved since the last look
    BUSY = "busy"  # a newer frame replaced it in the mailbox
    STALE = "stale"  # too old when its turn came, or the server refused it as too old
    ERROR = "error"  # inference failed, the decoder marked the frame as damaged, or a bug


@dataclass(frozen=True, slots=True)
class Coverage:
    """One camera's account at one instant."""

    decoded: int = 0
    inspected: int = 0
    skipped: Mapping[Skip, int] = field(default_factory=lambda: dict.fromkeys(Skip, 0))

    @property
    def pending(self) -> int:
        return self.decoded - self.inspected - sum(self.skipped.values())


class CameraLedger:
    """Written by the decode thread and the event loop; each frame is entered once and leaves once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoded = 0
        self._inspected = 0
        self._skipped = dict.fromkeys(Skip, 0)

    def decoded(self) -> int:
        """Enter a frame; returns its number, from 1."""
        with self._lock:
            self._decoded += 1
            return self._decoded

    def inspected(self) -> None:
        with self._lock:
            self._inspected += 1

    def skipped(self, cause: Skip) -> None:
        with self._lock:
            self._skipped[cause] += 1

    def coverage(self) -> Coverage:
        with self._lock:
            return Coverage(self._decoded, self._inspected, dict(self._skipped))

"""One camera's media clock: seconds that never go back, whatever the stream's own timestamps do."""

import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)

# A longer step between two pictures is not a step but a jump of the timestamps.
MAX_STEP_S = 2.0
# A live stream whose timestamps run away from the clock by this much is timed by arrival from then on.
MAX_DRIFT_S = 3.0
# A decoder that is seconds behind finds the next pictures there. One that waits for so many more of them than it finds
# is not behind: the timestamps are slow.
MOST_WAITS = 20
_FIRST_GUESS_S = 0.04


@dataclass(slots=True)
class _Stamp:
    """The last picture, as it was stamped and as it came in."""

    stamp_s: float | None
    received_s: float


class MediaTime:
    """Held for the camera's life, so that time goes on across reconnects and across the end of a looped file.

    In a stream that is played live, a missing, repeated or jumping timestamp is replaced by the time that passed
    until the picture was received; in one that is read as fast as possible, by the usual step between two
    pictures, so that reading it again gives the same times.
    """

    def __init__(self) -> None:
        self._now_s: float | None = None
        self._last: _Stamp | None = None
        self._step_s = _FIRST_GUESS_S
        self._live = True
        self._trusted = True
        self._drift_s = 0.0
        self._waits = 0

    @property
    def step_s(self) -> float:
        """The usual time between two pictures."""
        return self._step_s

    def begin(self, *, live: bool, trusted: bool) -> None:
        """A stream begins: opened, opened again, or a file from its start.

        live: arrival tells the time where stamps do not. trusted: the stamps are worth looking at.
        """
        self._live, self._trusted = live, trusted
        self._drift_s = 0.0
        self._waits = 0
        if self._last is not None:
            self._last.stamp_s = None

    def advance(self, stamp_s: float | None, received_s: float, *, waited: bool = True) -> float:
        """The time of the next picture.

        received_s is monotonic. waited: the decoder waited for it; else it was there already.
        """
        last, self._last = self._last, _Stamp(stamp_s, received_s)
        if last is None or self._now_s is None:
            self._now_s = 0.0
            return 0.0
        elapsed_s = max(received_s - last.received_s, 0.0)
        step_s = self._stamped_step(last.stamp_s, stamp_s)
        if step_s is None:
            step_s = elapsed_s if self._live else self._step_s
        elif self._live:
            self._check_drift(step_s - elapsed_s, waited=waited)
        self._now_s += step_s
        return self._now_s

    def _stamped_step(self, before_s: float | None, now_s: float | None) -> float | None:
        if not self._trusted or before_s is None or now_s is None:
            return None
        step_s = now_s - before_s
        if not 0.0 < step_s <= MAX_STEP_S:
            return None
        self._step_s += 0.1 * (step_s - self._step_s)
        return step_s

    def _check_drift(self, step_minus_elapsed_s: float, *, waited: bool) -> None:
        self._drift_s += step_minus_elapsed_s
        late = self._drift_s < -MAX_DRIFT_S
        self._waits = max(self._waits + (1 if waited else -1), 0) if late else 0
        if self._drift_s > MAX_DRIFT_S or self._waits > MOST_WAITS:
            self._trusted = False
            log.warning(
                "timestamps are %.1f s away from the clock; frames are timed by arrival from here on",
                self._drift_s,
            )


class Sampler:
    """Chooses pictures of a stream so that `fps` of them a second are left, evenly spaced."""

    def __init__(self, fps: float, turn: float | None = None) -> None:
        """Prepare.

        Args:
            fps: pictures a second to choose.
            turn: where in the interval between two choices this stream's choice lies, 0..1 of it, on the
                monotonic clock. Streams with different turns are not all looked at in the same instant.
        """
        self._interval_s = 1.0 / fps
        self._turn = turn
        self._due_s: float | None = None

    def wants(self, pts_s: float, step_s: float, now_s: float) -> bool:
        """Whether this picture is the one nearest to the next due time.

        step_s is the usual step between two pictures, now_s is monotonic.
        """
        if self._due_s is None:
            self._due_s = pts_s + self._first_gap_s(now_s)
            return True
        # Not quite half a step: of two pictures equally near, the later one is due.
        if pts_s + 0.4 * step_s < self._due_s:
            return False
        self._due_s += self._interval_s
        if self._due_s <= pts_s:  # a gap in the stream: do not make up for what was missed
            self._due_s = pts_s + self._first_gap_s(now_s)
        return True

    def _first_gap_s(self, now_s: float) -> float:
        """Until the next choice: an interval, or what leads to this stream's turn."""
        if self._turn is None:
            return self._interval_s
        wait_s = (self._turn * self._interval_s - now_s) % self._interval_s
        return wait_s if wait_s >= self._interval_s / 2 else wait_s + self._interval_s

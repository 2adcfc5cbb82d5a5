"""The thread that decodes one camera and puts the frames that are wanted into its mailbox."""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType

from orchestrator.camera import Camera
from orchestrator.capture.lag import Lag, Relief
from orchestrator.capture.mailbox import Mailbox
from orchestrator.capture.media_time import MediaTime, Sampler
from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler
from orchestrator.capture.source import Decoded, Source, open_source
from orchestrator.errors import StreamEnded
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.settings import CaptureSettings

# The loop and Triton come first: what is decoded is finished before more is decoded (decision 0019).
NICE = 10
# A pause longer than this is slept in pieces, so that the watchdog sees that the thread is well.
NAP_S = 0.5
# A paced stream that is this far behind does not hurry to catch up.
MAX_LAG_S = 1.0


@dataclass(frozen=True, slots=True)
class Continuity:
    """What a camera keeps while it is reconnected: its media clock, its scalers, and its turn (see `Sampler`)."""

    time: MediaTime = field(default_factory=MediaTime)
    scaler: Scaler = field(default_factory=Scaler)
    turn: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a stream is read.

    lossless    every wanted frame is delivered, as fast as they are taken; else the newest wins
    started_at  if set, `captured_at` is this plus the media time, so that a replay can be repeated
    """

    lossless: bool = False
    started_at: datetime | None = None


class Progress:
    """Written by the thread, read by the watchdog on the event loop. Times are monotonic."""

    def __init__(self, now_s: float) -> None:
        self.opened = False
        self.touched_s = now_s
        self.whole_s = now_s

    def touch(self) -> None:
        """Something came in: a connection, a packet."""
        self.touched_s = time.monotonic()

    def whole(self) -> None:
        """A whole picture was decoded."""
        self.whole_s = time.monotonic()


class Reader:
    """Decodes until the stream ends, fails or is stopped. `run` is the thread's body."""

    def __init__(
        self,
        camera: Camera,
        settings: CaptureSettings,
        ledger: CameraLedger,
        mailbox: Mailbox,
        continuity: Continuity,
        reading: Reading,
        count_error: Callable[[], None],
        note_lag: Callable[[float], None],
    ) -> None:
        self._camera = camera
        self._settings = settings
        self._ledger = ledger
        self._mailbox = mailbox
        self._time = continuity.time
        self._scaler = continuity.scaler
        self._reading = reading
        self._count_error = count_error
        self._note_lag = note_lag
        # A turn is kept by the clock on the wall, which a replay must not look at.
        self._sampler = Sampler(camera.fps, None if reading.lossless else continuity.turn)
        self._relief = Relief()
        self._stopped = threading.Event()
        self.progress = Progress(time.monotonic())

    def stop(self) -> None:
        """Called by the event loop. A thread that is blocked in FFmpeg notices when that returns."""
        self._stopped.set()

    def run(self) -> None:
        with _Outcome(self._mailbox):
            if not self._reading.lossless:
                _step_back()  # a replay waits for nothing but its pictures
            again = True
            while again and not self._stopped.is_set():
                with open_source(self._camera, self._settings) as source:
                    self.progress.opened = True
                    self.progress.touch()
                    self.progress.whole()
                    self._read(source)
                    again = source.ends and self._camera.loop

    def _read(self, source: Source) -> None:
        self._time.begin(live=not source.ends, trusted=source.has_stamps)
        pace = Pace() if source.comes_in_bursts and not self._reading.lossless else None
        # What comes in bursts, or as fast as it is taken, is never behind.
        lag = None if source.comes_in_bursts or self._reading.lossless else Lag()
        empty = True
        for decoded in source.decode(self.progress.touch, self._count_error):
            empty = False
            if self._stopped.is_set():
                return
            decoded_s = time.monotonic()
            waited = decoded.waited_s > self._time.step_s / 2
            pts_s = self._time.advance(decoded.stamp_s, decoded_s, waited=waited)
            lag_s = 0.0
            if lag is not None:
                self._note_lag(lag_s := lag.of(pts_s, decoded_s, waited=waited))
            if pace is not None:
                self._wait(pace, pts_s)
                if self._stopped.is_set():
                    return
            self._deliver(decoded, pts_s, lag_s)
        if empty or not source.ends:
            what = "holds no picture" if empty else "closed the stream"
            raise StreamEnded(self._camera.camera_id, f"{self._camera.address} {what}")

    def _deliver(self, decoded: Decoded, pts_s: float, lag_s: float) -> None:
        frame_number = self._ledger.decoded()
        if not decoded.sound:
            self._ledger.skipped(Skip.ERROR)
            return
        self.progress.whole()
        now_s = time.monotonic()
        if not self._sampler.wants(pts_s, self._time.step_s, now_s):
            self._ledger.skipped(Skip.SAMPLING)
        elif self._relief.leaves_out(lag_s, now_s):
            self._ledger.skipped(Skip.BUSY)
        else:
            picture = AvPicture(decoded.frame, self._scaler)
            started_at = self._reading.started_at
            frame = Frame(
                camera_id=self._camera.camera_id,
                frame_number=frame_number,
                picture=picture,
                pts_s=pts_s,
                captured_at=started_at + timedelta(seconds=pts_s)
                if started_at
                else datetime.now(UTC),
                received_s=time.monotonic(),
            )
            picture.scale_ahead()
            self._mailbox.put(frame)

    def _wait(self, pace: "Pace", pts_s: float) -> None:
        while (left_s := pace.ahead_s(pts_s, time.monotonic())) > 0:
            if self._stopped.wait(min(left_s, NAP_S)):
                return
            self.progress.touch()


def _step_back() -> None:
    """Elsewhere than on Linux a thread has no priority of its own."""
    if sys.platform == "linux":
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), usual + NICE)


class Pace:
    """Shows a stream at its own speed, whatever speed it comes in at."""

    def __init__(self) -> None:
        self._origin_s: float | None = None

    def ahead_s(self, pts_s: float, now_s: float) -> float:
        """How long it is until this picture is due; negative when it is late."""
        if self._origin_s is None or pts_s - (now_s - self._origin_s) < -MAX_LAG_S:
            self._origin_s = now_s - pts_s
        return pts_s - (now_s - self._origin_s)


class _Outcome:
    """Hands whatever ended the thread to the event loop: a CameraError is survived there, a bug is raised."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._mailbox.finish(error)
        return True

"""One camera's frames as an asynchronous iterator, read by a thread of its own and guarded by a watchdog."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol, Self

from orchestrator.camera import Camera
from orchestrator.capture.address import is_file
from orchestrator.capture.mailbox import Mailbox
from orchestrator.capture.reader import Continuity, Reader, Reading
from orchestrator.errors import CameraError, CameraStalled, CameraUnreachable
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.settings import CaptureSettings

log = logging.getLogger(__name__)

# FFmpeg's own time-out comes first, for it knows better what happened.
SLACK_S = 0.5
# A healthy thread ends within a frame; one that is blocked in FFmpeg is not waited for.
GRACE_S = 1.0
# Packets come, but none makes a picture: longer than any sensible distance of keyframes.
WHOLE_PICTURE_S = 30.0


class FrameStream(Protocol):
    """Frames of one camera, until its file ends (the iterator stops) or a CameraError is raised."""

    async def ready(self) -> bool:
        """Wait for a frame without taking it; False: there is none, the file has ended. Raises CameraError."""
        ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Frame: ...


class ThreadedFrames:
    """A FrameStream whose frames a thread decodes."""

    def __init__(
        self,
        camera: Camera,
        settings: CaptureSettings,
        mailbox: Mailbox,
        reader: Reader,
        clock: Callable[[], float],
    ) -> None:
        self._camera = camera
        self._settings = settings
        self._mailbox = mailbox
        self._reader = reader
        self._clock = clock
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._run, name=f"decode:{camera.camera_id}", daemon=True
        )

    async def ready(self) -> bool:
        if self._thread.ident is None:
            self._reader.progress.touch()
            self._thread.start()
        waiting_since_s = self._clock()
        while True:
            left_s = self._deadline_s(waiting_since_s) - self._clock()
            if left_s <= 0:
                raise self._silence()
            try:
                async with asyncio.timeout(left_s):
                    return await self._mailbox.ready()
            except TimeoutError:
                continue  # packets may have come meanwhile: look at the deadline again

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        await self.ready()
        frame = await self._mailbox.get()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def close(self) -> bool:
        """Stop the thread. False: it is blocked in FFmpeg, and ends by itself when that returns."""
        if self._thread.ident is None:
            return True
        self._reader.stop()
        self._mailbox.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await self._ended.wait()
        except TimeoutError:
            return False
        self._thread.join()  # it has said that it is done
        return True

    def _run(self) -> None:
        self._reader.run()
        # The loop may be gone when an abandoned thread wakes up.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    def _deadline_s(self, waiting_since_s: float) -> float:
        progress = self._reader.progress
        if not progress.opened:
            return progress.touched_s + self._settings.connect_timeout + SLACK_S
        # While a slow consumer kept the thread waiting nothing was read, and that is no stall.
        packet_s = max(progress.touched_s, waiting_since_s) + self._settings.read_timeout + SLACK_S
        return min(packet_s, max(progress.whole_s, waiting_since_s) + WHOLE_PICTURE_S)

    def _silence(self) -> CameraError:
        address = self._camera.address
        progress = self._reader.progress
        if progress.opened and self._clock() - progress.touched_s < self._settings.read_timeout:
            return CameraStalled(
                self._camera.camera_id,
                f"{address} sends, but no whole picture came for {WHOLE_PICTURE_S:g} s;"
                " check the network for loss, and that its transport is tcp",
            )
        if progress.opened:
            return CameraStalled(
                self._camera.camera_id,
                f"{address} sent nothing for {self._settings.read_timeout:g} s",
            )
        return CameraUnreachable(
            self._camera.camera_id,
            f"{address} did not begin to send within {self._settings.connect_timeout:g} s;"
            " check its address and the network, or raise CAPTURE_CONNECT_TIMEOUT",
        )


@asynccontextmanager
async def open_frames(
    camera: Camera,
    *,
    settings: CaptureSettings,
    ledger: CameraLedger,
    metrics: Metrics,
    continuity: Continuity | None = None,
    lossless: bool = False,
    started_at: datetime | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[ThreadedFrames]:
    """Read a camera, sampled to its wanted rate, from the first time that a frame is asked for.

    Every decoded frame is entered in the ledger; those that do not reach the caller are accounted for here.
    The stream raises CameraError when the camera is unreachable, stalls or ends.

    continuity  what is kept across reconnects: give the same one each time the camera is opened
    lossless    wait for the caller instead of dropping frames; a file is then read as fast as it is taken,
                as it is where its pace is `fast`
    started_at  the moment a replayed clip begins; `captured_at` is then a function of the clip alone
    """
    lossless = lossless or (camera.pace == "fast" and is_file(camera))
    mailbox = Mailbox(asyncio.get_running_loop(), ledger, lossless=lossless)
    reader = Reader(
        camera,
        settings,
        ledger,
        mailbox,
        continuity or Continuity(),
        Reading(lossless, started_at),
        metrics.decode_errors.labels(camera.camera_id).inc,
        metrics.decode_lag.labels(camera.camera_id).observe,
    )
    frames = ThreadedFrames(camera, settings, mailbox, reader, clock)
    try:
        yield frames
    finally:
        if not await frames.close():
            metrics.decode_threads_abandoned.labels(camera.camera_id).inc()
            log.warning("camera %s: its decoder is blocked and was left behind", camera.camera_id)

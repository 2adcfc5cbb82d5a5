"""Hands frames from a decode thread to the event loop; never more than one is held."""

import asyncio
import threading
from contextlib import suppress

from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Skip


class Mailbox:
    """One slot. Live: a newer frame replaces an unread one, which is counted as busy.
    Lossless: the decode thread waits until the slot is empty.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ledger: CameraLedger, *, lossless: bool
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._lossless = lossless
        self._changed = threading.Condition()
        self._ready = asyncio.Event()
        self._frame: Frame | None = None
        self._finished = False
        self._failure: BaseException | None = None
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Called by the decode thread. After `close` the frame is counted as stale and dropped."""
        with self._changed:
            while self._lossless and self._frame is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                self._ledger.skipped(Skip.STALE)
                return
            replaced, self._frame = self._frame, frame
        self._wake()
        if replaced is not None:
            self._ledger.skipped(Skip.BUSY)

    def finish(self, failure: BaseException | None) -> None:
        """Called by the decode thread, last: no frame follows, because of `failure` or because the file ended."""
        with self._changed:
            self._finished, self._failure = True, failure
            closed = self._closed
        if not closed:
            self._wake()

    def _wake(self) -> None:
        """Without the lock, which the loop wants at once: it would wait for a thread of lower priority to let it go."""
        with suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
            self._loop.call_soon_threadsafe(self._ready.set)

    async def ready(self) -> bool:
        """Wait for a frame without taking it. False: the file ended. Raises what ended the stream."""
        while True:
            await self._ready.wait()
            with self._changed:
                if self._frame is not None:
                    return True
                if self._finished:
                    if self._failure is not None:
                        raise self._failure
                    return False
                # Woken for a frame that was replaced, and taken, before its wake-up came.
                self._ready.clear()

    async def get(self) -> Frame | None:
        """Take the frame. None: the file ended. Raises what ended the stream."""
        if not await self.ready():
            return None
        with self._changed:  # nothing was awaited since: the frame is still there
            frame, self._frame = self._frame, None
            if not self._finished:
                self._ready.clear()
            self._changed.notify_all()
        return frame

    def close(self) -> None:
        """Called by the event loop. Lets a waiting thread go; an unread frame is counted as stale."""
        with self._changed:
            self._closed = True
            if self._frame is not None:
                self._frame = None
                self._ledger.skipped(Skip.STALE)
            self._changed.notify_all()

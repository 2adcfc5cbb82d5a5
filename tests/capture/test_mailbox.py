"""The mailbox between a decode thread and the event loop: one frame, and each one accounted for."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import cast

import numpy as np
import pytest

from orchestrator.capture.mailbox import Mailbox
from orchestrator.errors import StreamEnded
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.picture import ArrayPicture


def frame(number: int) -> Frame:
    picture = ArrayPicture(np.zeros((2, 2, 3), np.uint8))
    return Frame("door", number, picture, float(number), datetime.now(UTC), 0.0)


async def open_mailbox(ledger: CameraLedger, *, lossless: bool = False) -> Mailbox:
    return Mailbox(asyncio.get_running_loop(), ledger, lossless=lossless)


async def taken(mailbox: Mailbox) -> int:
    found = await mailbox.get()
    assert found is not None
    return found.frame_number


async def test_a_newer_frame_replaces_an_unread_one_which_is_counted_as_busy() -> None:
    ledger = CameraLedger()
    mailbox = await open_mailbox(ledger)

    mailbox.put(frame(1))
    mailbox.put(frame(2))

    assert await taken(mailbox) == 2
    assert ledger.coverage().skipped[Skip.BUSY] == 1


async def test_a_waiting_reader_is_woken_by_another_thread() -> None:
    mailbox = await open_mailbox(CameraLedger())
    thread = threading.Timer(0.05, mailbox.put, [frame(1)])
    thread.start()

    assert await taken(mailbox) == 1
    thread.join()


async def test_the_loop_is_woken_by_a_thread_that_holds_nothing_the_loop_wants() -> None:
    """A decode thread has a low priority: for a lock in its hands the loop would wait until it gets a core again."""
    mailbox = await open_mailbox(CameraLedger())
    could_look: list[bool] = []

    def look() -> None:
        could_look.append(mailbox._changed.acquire(timeout=1.0))
        if could_look[-1]:
            mailbox._changed.release()

    class Loop:
        def call_soon_threadsafe(self, _: object) -> None:
            loop = threading.Thread(target=look)
            loop.start()
            loop.join()

    mailbox._loop = cast(asyncio.AbstractEventLoop, Loop())
    mailbox.put(frame(1))
    mailbox.finish(None)
    assert could_look == [True, True]


async def test_the_last_frame_is_delivered_before_the_failure_that_followed_it() -> None:
    mailbox = await open_mailbox(CameraLedger())
    mailbox.put(frame(1))
    mailbox.finish(StreamEnded("door", "gone"))

    assert await taken(mailbox) == 1
    with pytest.raises(StreamEnded):
        await mailbox.get()


async def test_a_file_that_ended_gives_nothing_more_however_often_it_is_asked() -> None:
    mailbox = await open_mailbox(CameraLedger())
    mailbox.finish(None)

    assert await mailbox.get() is None
    assert await mailbox.get() is None


async def test_looking_for_a_frame_does_not_take_it() -> None:
    mailbox = await open_mailbox(CameraLedger())
    mailbox.put(frame(1))

    assert await mailbox.ready()
    assert await taken(mailbox) == 1


async def test_a_lossless_thread_waits_until_its_frame_is_taken() -> None:
    ledger = CameraLedger()
    mailbox = await open_mailbox(ledger, lossless=True)

    def decode() -> None:
        for number in range(1, 6):
            mailbox.put(frame(number))
        mailbox.finish(None)

    thread = threading.Thread(target=decode)
    thread.start()
    seen = []
    while (found := await mailbox.get()) is not None:
        seen.append(found.frame_number)
        await asyncio.sleep(0.01)
    thread.join()

    assert seen == [1, 2, 3, 4, 5]
    assert sum(ledger.coverage().skipped.values()) == 0


async def test_closing_frees_a_lossless_thread_and_counts_both_frames_as_stale() -> None:
    ledger = CameraLedger()
    mailbox = await open_mailbox(ledger, lossless=True)
    mailbox.put(frame(1))
    thread = threading.Thread(target=mailbox.put, args=[frame(2)])
    thread.start()

    mailbox.close()
    thread.join(timeout=5)

    assert not thread.is_alive()
    assert ledger.coverage().skipped[Skip.STALE] == 2


async def test_a_frame_that_comes_after_closing_is_counted_as_stale() -> None:
    ledger = CameraLedger()
    mailbox = await open_mailbox(ledger)
    mailbox.close()

    mailbox.put(frame(1))

    assert ledger.coverage().skipped[Skip.STALE] == 1


async def test_a_reader_that_gives_up_loses_no_frame() -> None:
    mailbox = await open_mailbox(CameraLedger())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await mailbox.get()

    mailbox.put(frame(1))

    assert await taken(mailbox) == 1


async def test_a_frame_that_was_replaced_and_taken_before_its_wake_up_came_is_not_the_end() -> None:
    mailbox = await open_mailbox(CameraLedger())
    mailbox.put(frame(1))
    assert await mailbox.ready()
    mailbox.put(frame(2))  # its wake-up is still to come
    assert await taken(mailbox) == 2
    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await mailbox.ready()

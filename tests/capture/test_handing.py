"""Handing a camera's frames on: one at a time, or of a file a second one while the first is still in hand."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.capture.handing import QUICK_S, hand_on
from orchestrator.errors import CameraStalled
from orchestrator.frame import Frame
from tests.capture.test_supervisor import frame
from tests.eventbus.until import until

LOST = CameraStalled("door", "sent nothing")


class Hands:
    """What was taken in hand and what is through, in order; a frame is through once it is let go."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.through: list[int] = []
        self.free = asyncio.Semaphore(0)

    async def handle(self, frame: Frame) -> None:
        self.taken.append(frame.frame_number)
        await self.free.acquire()
        self.through.append(frame.frame_number)

    def let_go(self, count: int) -> None:
        for _ in range(count):
            self.free.release()


async def played(*script: int | Exception) -> AsyncIterator[Frame]:
    for each in script:
        await asyncio.sleep(0)
        if isinstance(each, Exception):
            raise each
        yield frame(each)


async def test_a_camera_has_one_frame_in_hand_at_a_time() -> None:
    hands = Hands()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hand_on(played(1, 2, 3), hands.handle))
        await until(lambda: hands.taken == [1])
        hands.let_go(1)
        await until(lambda: hands.taken == [1, 2])
        hands.let_go(2)
    assert hands.through == [1, 2, 3]


async def test_of_a_file_a_second_one_is_taken_meanwhile_and_no_third() -> None:
    hands = Hands()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hand_on(played(1, 2, 3, 4), hands.handle, ahead=True, clock=lambda: 0.0))
        await until(lambda: hands.taken == [1])
        hands.let_go(1)  # the first says how quickly that goes
        await until(lambda: hands.taken == [1, 2, 3])
        await asyncio.sleep(0.01)
        assert hands.taken == [1, 2, 3]
        hands.let_go(3)
    assert hands.through == [1, 2, 3, 4]


async def test_while_frames_take_long_there_is_no_second_one() -> None:
    hands, now_s = Hands(), [0.0]
    watching = hand_on(played(*range(1, 7)), hands.handle, ahead=True, clock=lambda: now_s[0])

    async def through(count: int, taken: int) -> None:
        hands.let_go(count)
        await until(lambda: len(hands.taken) == taken)
        await asyncio.sleep(0.01)
        assert len(hands.taken) == taken

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watching)
        await through(1, taken=3)
        now_s[0] += 2 * QUICK_S
        await through(2, taken=4)
        await through(1, taken=6)
        hands.let_go(2)
    assert hands.through == [1, 2, 3, 4, 5, 6]


async def test_a_camera_is_lost_once_what_is_in_hand_is_through() -> None:
    hands = Hands()
    async with asyncio.TaskGroup() as tasks:
        lost = tasks.create_task(_error(played(1, 2, 3, LOST), hands))
        hands.let_go(2)
        await until(lambda: hands.taken == [1, 2, 3])
        await asyncio.sleep(0.01)
        assert not lost.done()
        hands.let_go(1)
    assert lost.result() is LOST
    assert hands.through == [1, 2, 3]


async def _error(frames: AsyncIterator[Frame], hands: Hands) -> Exception:
    with pytest.raises(CameraStalled) as caught:
        await hand_on(frames, hands.handle, ahead=True, clock=lambda: 0.0)
    return caught.value


async def test_a_bug_comes_out_as_itself_and_nothing_is_left_at_work() -> None:
    hands = Hands()

    async def stumble(frame: Frame) -> None:
        if frame.frame_number == 3:
            raise ZeroDivisionError("a bug")
        await hands.handle(frame)

    hands.let_go(1)
    with pytest.raises(ZeroDivisionError):
        await hand_on(played(1, 2, 3, 4), stumble, ahead=True, clock=lambda: 0.0)
    assert (hands.taken, hands.through) == ([1, 2], [1])

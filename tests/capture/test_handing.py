"""Handing a camera's frames on: one at a time, or of a file a second one while the first is still in hand."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.capture.handing import hand_on
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
        tasks.create_task(hand_on(played(1, 2, 3), hands.handle, ahead=asyncio.Semaphore(1)))
        await until(lambda: hands.taken == [1, 2])
        await asyncio.sleep(0.01)
        assert hands.taken == [1, 2]
        hands.let_go(3)
    assert hands.taken == [1, 2, 3]


async def test_many_files_together_have_no_more_second_frames_than_are_allowed() -> None:
    files, ahead = [Hands() for _ in range(5)], asyncio.Semaphore(2)
    async with asyncio.TaskGroup() as tasks:
        for hands in files:
            tasks.create_task(hand_on(played(1, 2, 3), hands.handle, ahead=ahead))
        await until(lambda: sum(len(hands.taken) for hands in files) == 7)
        await asyncio.sleep(0.01)
        assert sum(len(hands.taken) for hands in files) == 7
        for hands in files:
            hands.let_go(3)
    assert [hands.taken for hands in files] == [[1, 2, 3]] * 5
    assert not ahead.locked()


async def test_a_camera_is_lost_once_what_is_in_hand_is_through() -> None:
    hands = Hands()
    async with asyncio.TaskGroup() as tasks:
        lost = tasks.create_task(_error(played(1, 2, LOST), hands))
        await until(lambda: hands.taken == [1, 2])
        hands.let_go(1)
        await asyncio.sleep(0.01)
        assert not lost.done()
        hands.let_go(1)
    assert lost.result() is LOST
    assert hands.through == [1, 2]


async def _error(frames: AsyncIterator[Frame], hands: Hands) -> Exception:
    with pytest.raises(CameraStalled) as caught:
        await hand_on(frames, hands.handle, ahead=asyncio.Semaphore(1))
    return caught.value


async def test_a_bug_comes_out_as_itself_and_nothing_is_left_at_work() -> None:
    hands = Hands()

    async def stumble(frame: Frame) -> None:
        if frame.frame_number == 2:
            raise ZeroDivisionError("a bug")
        await hands.handle(frame)

    with pytest.raises(ZeroDivisionError):
        await hand_on(played(1, 2, 3), stumble, ahead=asyncio.Semaphore(1))
    assert hands.taken == [1]
    assert hands.through == []

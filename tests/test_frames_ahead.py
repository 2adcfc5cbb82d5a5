"""Two frames of a file on their way at once: what was seen is told as if they had been taken one by one."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from orchestrator.detection import Detections
from orchestrator.errors import InferenceUnavailable
from orchestrator.ledger import Skip
from orchestrator.picture import Picture
from tests.camera_path import ADA, LIVE, WHOLE, ScriptedObjects, Site, open_site
from tests.eventbus.until import until
from tests.tracking.walk import Box, sight

FILE = replace(LIVE, max_age_s=math.inf)
REPLAY = replace(LIVE, max_age_s=None)


class Answers(ScriptedObjects):
    """A detector that answers each question when it is told to, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[Detections]] = []

    async def detect(self, picture: Picture, *, deadline_s: float) -> Detections:
        answer: asyncio.Future[Detections] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return replace(await answer, model=self.model)

    async def asked(self, questions: int) -> None:
        await until(lambda: len(self.waiting) == questions)
        await asyncio.sleep(0.01)
        assert len(self.waiting) == questions

    def says(self, question: int, *boxes: Box) -> None:
        self.waiting[question].set_result(sight(*boxes))


@dataclass(frozen=True, slots=True)
class Pair:
    answers: Answers
    first: asyncio.Task[None]
    second: asyncio.Task[None]


@asynccontextmanager
async def two_frames(
    site: Site, picture: Picture | None = None, *, apart_s: float = 0.2
) -> AsyncIterator[Pair]:
    """Two frames in a row, on their way through one camera's path."""
    assert isinstance(site.objects, Answers)
    first = site.frame(picture)
    site.now_s += apart_s - 0.2
    second = site.frame(picture)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        ways = [tasks.create_task(site.pipeline.inspect(frame)) for frame in (first, second)]
        yield Pair(site.objects, *ways)


@pytest.fixture
def file() -> Site:
    return open_site(FILE, objects=Answers())


@pytest.fixture
def replay() -> Site:
    return open_site(REPLAY, objects=Answers())


def person(x: float) -> Box:
    return (x, 100.0, x + 80.0, 300.0)


def numbers(site: Site) -> list[int]:
    return [event.frame_number for event in site.motion]


async def test_the_next_frame_is_asked_for_before_the_first_is_answered(file: Site) -> None:
    async with two_frames(file) as pair:
        await pair.answers.asked(2)
        pair.answers.says(0)
        pair.answers.says(1)
    assert (file.coverage.inspected, file.coverage.pending) == (2, 0)


async def test_answers_that_come_out_of_order_are_told_in_order(file: Site) -> None:
    async with two_frames(file) as pair:
        await pair.answers.asked(2)
        pair.answers.says(1, person(304))
        await asyncio.sleep(0.01)
        assert numbers(file) == []
        assert file.coverage.inspected == 0
        pair.answers.says(0, person(300))
    assert numbers(file) == [1, 2]
    assert [event.detected_objects[0].bbox.x1 for event in file.motion] == [300, 304]
    assert [mark.track_id for mark in file.marks] == [1], "one person, who walked on"


async def test_a_frame_without_an_answer_does_not_lose_the_next(file: Site) -> None:
    async with two_frames(file) as pair:
        await pair.answers.asked(2)
        pair.answers.says(1, person(304))
        pair.answers.waiting[0].set_exception(InferenceUnavailable("down"))
    assert numbers(file) == [2]
    assert (file.coverage.inspected, file.coverage.skipped[Skip.ERROR]) == (1, 1)
    assert file.coverage.pending == 0


async def test_a_frame_without_an_answer_waits_for_the_one_before(file: Site) -> None:
    async with two_frames(file) as pair:
        await pair.answers.asked(2)
        pair.answers.waiting[1].set_exception(InferenceUnavailable("down"))
        await asyncio.sleep(0.01)
        assert file.coverage.skipped[Skip.ERROR] == 0
        pair.answers.says(0, person(300))
    assert numbers(file) == [1]
    assert file.coverage.skipped[Skip.ERROR] == 1


async def test_both_are_accounted_for_when_the_file_is_removed(file: Site) -> None:
    async with two_frames(file) as pair:
        await pair.answers.asked(2)
        pair.answers.says(1, person(304))
        await asyncio.sleep(0.01)
        pair.first.cancel()
        pair.second.cancel()
    assert (file.coverage.skipped[Skip.STALE], file.coverage.pending) == (2, 0)
    assert file.lines == []


async def bug_in(site: Site, question: int) -> None:
    """The second frame is answered first; one of the answers is a bug."""
    async with two_frames(site) as pair:
        await pair.answers.asked(2)
        for each in (1, 0):
            if each == question:
                pair.answers.waiting[each].set_exception(ZeroDivisionError("a bug"))
            else:
                pair.answers.says(each, person(300))
            await asyncio.sleep(0.01)


async def test_nothing_is_told_of_what_comes_after_a_bug(file: Site) -> None:
    with pytest.raises(ExceptionGroup):
        await bug_in(file, 0)
    assert file.lines == []
    assert (file.coverage.skipped[Skip.ERROR], file.coverage.skipped[Skip.STALE]) == (1, 1)
    assert file.coverage.pending == 0


async def test_what_was_seen_before_a_bug_is_told(file: Site) -> None:
    with pytest.raises(ExceptionGroup):
        await bug_in(file, 1)
    assert numbers(file) == [1]
    assert (file.coverage.inspected, file.coverage.skipped[Skip.ERROR]) == (1, 1)


async def test_in_a_replay_each_frame_is_asked_for_alone_whatever_batches_do(replay: Site) -> None:
    async with two_frames(replay) as pair:
        await pair.answers.asked(1)
        pair.answers.says(0, person(300))
        await pair.answers.asked(2)
        pair.answers.says(1, person(304))
    assert numbers(replay) == [1, 2]


async def test_in_a_replay_the_next_is_asked_for_while_faces_are_looked_for(replay: Site) -> None:
    picture = replay.shows(ADA)
    replay.faces.held = asyncio.Event()
    async with two_frames(replay, picture) as pair:  # a track begins with the second detection
        await pair.answers.asked(1)
        pair.answers.says(0, WHOLE)
        await pair.answers.asked(2)
        third = replay.pipeline.inspect(replay.frame(picture))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(third)
            pair.answers.says(1, WHOLE)
            await pair.answers.asked(3)
            assert replay.faces.regions
            assert not pair.second.done()
            replay.faces.held.set()
            pair.answers.says(2, WHOLE)
    assert [event.event_type for event in replay.events].count("face.recognized") == 1
    assert numbers(replay) == [1, 2, 3]


@pytest.mark.parametrize(("boxes", "inspected"), [((person(300),), 2), ((), 1)])
async def test_whether_to_look_again_at_who_stands_still_waits_for_the_frame_before(
    boxes: tuple[Box, ...], inspected: int
) -> None:
    site = open_site(FILE, gate=True, objects=Answers())
    async with two_frames(site, apart_s=0.6) as pair:
        await pair.answers.asked(1)
        pair.answers.says(0, *boxes)
        if boxes:
            await pair.answers.asked(2)
            pair.answers.says(1, *boxes)
    assert site.coverage.inspected == inspected
    assert site.coverage.pending == 0

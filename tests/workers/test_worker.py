"""A worker's side of the pipe: it takes lists of cameras until its supervisor is gone, however that goes."""

import asyncio
import json
import os

import pytest
from pydantic import SecretStr

from orchestrator.board import Board
from orchestrator.camera import Camera
from orchestrator.errors import ServerError
from orchestrator.ledger import CameraLedger
from orchestrator.settings import Settings
from orchestrator.workers.messages import Assignment, Beat, Start
from orchestrator.workers.worker import assignments, beat, read_start


def lines(*messages: Start | Assignment, cut_off: int = 0) -> asyncio.StreamReader:
    """A pipe in which these lines were written, the last one short of some bytes, before it was closed."""
    reader = asyncio.StreamReader()
    written = b"".join(message.model_dump_json().encode() + b"\n" for message in messages)
    reader.feed_data(written[: len(written) - cut_off])
    reader.feed_eof()
    return reader


def cameras(*names: str) -> tuple[Camera, ...]:
    return tuple(Camera(camera_id=name, url=SecretStr(f"{name}.mp4")) for name in names)


async def test_it_is_told_its_settings_and_then_each_list_of_cameras() -> None:
    pipe = lines(
        Start.of(Settings()), Assignment.of(cameras("a")), Assignment.of(cameras("a", "b"))
    )
    assert (await read_start(pipe)).rebuilt() == Settings()
    assert [given async for given in assignments(pipe)] == [cameras("a"), cameras("a", "b")]


@pytest.mark.parametrize("cut_off", [1, 20])
async def test_a_supervisor_that_dies_while_it_speaks_ends_the_lists(cut_off: int) -> None:
    pipe = lines(Assignment.of(cameras("a")), Assignment.of(cameras("b")), cut_off=cut_off)
    assert [given async for given in assignments(pipe)] == [cameras("a")]


@pytest.mark.parametrize("pipe", [(), (Start.of(Settings()),)], ids=["silent", "cut off"])
async def test_a_worker_without_a_supervisor_says_how_workers_are_started(
    pipe: tuple[Start, ...],
) -> None:
    with pytest.raises(ServerError, match="fess run --workers"):
        await read_start(lines(*pipe, cut_off=5 * len(pipe)))


async def test_it_beats_for_as_long_as_its_loop_turns_and_says_whether_it_has_its_cameras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    board = Board()
    with os.fdopen(reading) as beats, os.fdopen(writing, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(beat(8123, board))
            first = await asyncio.to_thread(beats.readline)
            board.add_camera(cameras("door")[0], CameraLedger())
            second = await asyncio.to_thread(beats.readline)
            beating.cancel()
    assert [Beat(**json.loads(line)) for line in (first, second)] == [
        Beat(http_port=8123, watching=False),
        Beat(http_port=8123, watching=True),
    ]

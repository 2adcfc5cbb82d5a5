"""A worker's side of the pipe: its cameras come on stdin, its beats go out on stdout."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from orchestrator.board import Board
from orchestrator.camera import Camera
from orchestrator.errors import ServerError
from orchestrator.workers.messages import Assignment, Beat, Start
from orchestrator.workers.supervisor import BEAT_EVERY_S

# A list of a thousand cameras with long polygons fits many times over.
LINE_LIMIT_BYTES = 16 * 2**20


async def supervisor_lines() -> asyncio.StreamReader:
    """The pipe from the supervisor; it ends when the supervisor is gone, and then so does the worker."""
    reader = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def read_start(lines: asyncio.StreamReader) -> Start:
    """Raises ServerError if the supervisor is gone before it said anything."""
    line = await lines.readline()
    if not line.endswith(b"\n"):
        raise ServerError(
            "a worker is started by `fess run --workers N`, which tells it what to do"
        )
    return Start.model_validate_json(line)


async def assignments(lines: asyncio.StreamReader) -> AsyncIterator[tuple[Camera, ...]]:
    """Each new list of cameras; ends with the supervisor, whose last line may be cut off."""
    while (line := await lines.readline()).endswith(b"\n"):
        yield Assignment.model_validate_json(line).rebuilt()


async def beat(http_port: int, board: Board) -> None:
    """Tell the supervisor, twice a second, that this event loop turns."""
    while True:
        sign = Beat(http_port=http_port, watching=bool(board.ledgers()))
        os.write(sys.stdout.fileno(), sign.model_dump_json().encode() + b"\n")
        await asyncio.sleep(BEAT_EVERY_S)

"""Hands a camera's frames to whoever inspects them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from orchestrator.errors import CameraError
from orchestrator.frame import Frame

Handle = Callable[[Frame], Awaitable[None]]


async def hand_on(
    frames: AsyncIterator[Frame], handle: Handle, *, ahead: asyncio.Semaphore | None = None
) -> None:
    """Hand on every frame, in order, until there are no more. Raises CameraError, and what `handle` raises.

    ahead  allows a second frame in hand; shared by all cameras, for each of these is one more for the server.
           None: one at a time
    """
    if ahead is None:
        async for frame in frames:
            await handle(frame)
        return
    fetching = asyncio.Lock()
    lost: list[CameraError] = []

    async def fetched() -> Frame | None:
        async with fetching:
            try:
                return None if lost else await anext(frames, None)
            except CameraError as error:
                lost.append(error)  # raised once what is in hand is through
                return None

    async def hand(leave: AbstractAsyncContextManager[None]) -> None:
        frame: Frame | None
        while True:
            async with leave:
                if (frame := await fetched()) is None:
                    return
                # Nothing is awaited in between: a frame that was taken is a frame that is handled.
                await handle(frame)

    try:
        async with asyncio.TaskGroup() as hands:
            hands.create_task(hand(nullcontext()))
            hands.create_task(hand(ahead))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
    if lost:
        raise lost.pop()

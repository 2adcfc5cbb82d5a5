"""Hands a camera's frames to whoever inspects them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from orchestrator.errors import CameraError
from orchestrator.frame import Frame

Handle = Callable[[Frame], Awaitable[None]]

# While a frame is longer in hand the server has enough to do: one more would only wait there, and others with it.
QUICK_S = 0.2


async def hand_on(
    frames: AsyncIterator[Frame],
    handle: Handle,
    *,
    ahead: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Hand on every frame, in order, until there are no more. Raises CameraError, and what `handle` raises.

    ahead  take a second frame in hand while the first is, as long as they are dealt with quickly
    """
    if not ahead:
        async for frame in frames:
            await handle(frame)
        return
    await _TwoHands(frames, handle, clock).hand_on()


class _TwoHands:
    """The first takes whatever comes, the second only while that goes quickly."""

    def __init__(
        self, frames: AsyncIterator[Frame], handle: Handle, clock: Callable[[], float]
    ) -> None:
        self._frames = frames
        self._handle = handle
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._quick = asyncio.Event()
        self._lost: CameraError | None = None

    async def hand_on(self) -> None:
        try:
            async with asyncio.TaskGroup() as hands:
                hands.create_task(self._first())
                hands.create_task(self._second())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        if self._lost is not None:
            raise self._lost

    async def _first(self) -> None:
        while await self._handled_one():
            pass
        self._quick.set()  # the other must not wait for more

    async def _second(self) -> None:
        await self._quick.wait()
        while await self._handled_one():
            await self._quick.wait()

    async def _handled_one(self) -> bool:
        """False: there are no more. Nothing is awaited between taking a frame and handling it."""
        frame = await self._fetched()
        if frame is None:
            return False
        began_s = self._clock()
        await self._handle(frame)
        if self._clock() - began_s <= QUICK_S:
            self._quick.set()
        else:
            self._quick.clear()
        return True

    async def _fetched(self) -> Frame | None:
        async with self._fetching:
            try:
                return None if self._lost else await anext(self._frames, None)
            except CameraError as error:
                self._lost = error  # raised once what is in hand is through
                return None

"""Disk work in a thread, which has no half way: once begun it is seen through."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    return loop.run_in_executor(None, lambda: work(*args, **kwargs))


async def seen_through(work: asyncio.Future[T]) -> None:
    """Wait until the work is done; a cancellation is raised only then. The work's own error is not."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled

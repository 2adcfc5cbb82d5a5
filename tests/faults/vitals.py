"""Whether a fault has left its marks on the process: memory, threads, processes, tasks that died unheard."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

GROWTH_BYTES = 50e6  # what a fault may cost
_SETTLES_S = 10.0


@dataclass
class Vitals:
    """How the process was; `settled` says how it is."""

    rss_bytes: int
    threads: frozenset[str]
    processes: int
    unheard: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def now(cls) -> "Vitals":
        gc.collect()
        process = psutil.Process()
        # Threads of a pool stay for the next one who needs them; those of cameras must not.
        cameras = [thread.name for thread in threading.enumerate() if ":" in thread.name]
        children = process.children(recursive=True)
        return cls(process.memory_info().rss, frozenset(cameras), len(children))

    def beginning_here(self) -> None:
        """What was needed to get going is no growth."""
        self.rss_bytes = Vitals.now().rss_bytes

    def heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unheard.append(context)
        loop.default_exception_handler(context)


@asynccontextmanager
async def unharmed() -> AsyncIterator[Vitals]:
    """After the block the process must be as it was before."""
    loop = asyncio.get_running_loop()
    before = Vitals.now()
    loop.set_exception_handler(before.heard)
    try:
        yield before
        after = await _settled(before)
    finally:
        loop.set_exception_handler(None)
    assert after.threads <= before.threads
    assert after.processes <= before.processes
    assert after.rss_bytes - before.rss_bytes < GROWTH_BYTES
    assert before.unheard == []


async def _settled(before: Vitals) -> Vitals:
    """What a blocked read has left behind goes once its own limit has passed."""
    deadline_s = asyncio.get_running_loop().time() + _SETTLES_S
    after = Vitals.now()
    while asyncio.get_running_loop().time() < deadline_s and not (
        after.threads <= before.threads and after.processes <= before.processes
    ):
        await asyncio.sleep(0.1)
        after = Vitals.now()
    return after

"""Two loads that take turns of half a second on one server: one is stopped while the other is counted.

Where a host does other things besides, its speed changes within seconds, and loads that are measured one after the
other are measured at different speeds. What changes more slowly than a turn weighs on both alike.
"""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.performance.throughput import Count, Throughput
from tests.performance.usage import cpu_s, family

TURNS = 8  # of each
TURN_S = 0.5
# Meanwhile what the other has on its way is answered. Not always as long, so that a turn does not always begin and end
# at the same point of an inference.
SETTLE_S = (0.15, 0.25)
SEED = 20260314


@dataclass(slots=True)
class Turns:
    """What one load brought in all its turns, and what they cost. load_s, triton_s: CPU."""

    wall_s: float = 0.0
    inferences: int = 0
    executions: int = 0
    failed: int = 0
    load_s: float = 0.0
    triton_s: float = 0.0

    def add(self, before: Count, after: Count, load_s: float, triton_s: float) -> None:
        self.wall_s += after.at_s - before.at_s
        self.inferences += after.inferences - before.inferences
        self.executions += after.executions - before.executions
        self.failed += after.failed - before.failed
        self.load_s += load_s
        self.triton_s += triton_s

    @property
    def throughput(self) -> Throughput:
        batch = self.inferences / max(self.executions, 1)
        return Throughput(self.inferences / self.wall_s, batch, self.failed)

    @property
    def load_cores(self) -> float:
        return self.load_s / self.wall_s

    @property
    def triton_cores(self) -> float:
        return self.triton_s / self.wall_s


async def take_turns(
    loads: tuple[Sequence[int], Sequence[int]],
    triton: int,
    count: Callable[[], Awaitable[Count]],
    turns: int = TURNS,
) -> tuple[Turns, Turns]:
    """A-B-B-A, `turns` of each; both run when it ends, however it ends.

    Args:
        loads: The processes of each, which were begun, whether or not they are stopped.
        triton: Triton's process; its backends are its children.
        count: Asks Triton.
    """
    found = Turns(), Turns()
    pause_s = random.Random(SEED)
    families = [[each for pid in pids for each in family(pid)] for pids in loads]
    served = family(triton)
    try:
        for number in range(2 * turns):
            side = (0, 1, 1, 0)[number % 4]
            stop(loads[1 - side])
            resume(loads[side])
            await asyncio.sleep(pause_s.uniform(*SETTLE_S))
            load_s, triton_s = cpu_s(families[side]), cpu_s(served)
            before = await count()
            await asyncio.sleep(TURN_S)
            after = await count()
            found[side].add(before, after, cpu_s(families[side]) - load_s, cpu_s(served) - triton_s)
    finally:
        resume((*loads[0], *loads[1]))
    return found


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    stop(pids)
    try:
        yield
    finally:
        resume(pids)


def stop(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def resume(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

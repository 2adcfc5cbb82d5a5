"""What a load generator sends: how requests follow each other, over which transport, from how many processes."""

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

Arrivals = Literal["constant", "poisson"]


class LoadEnded(Exception):
    """A load generator ended by itself; the message is its own."""


class ToolEnded(LoadEnded):
    """perf_analyzer, which gives up where Triton refuses a request that waited too long."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Closed loop with a `concurrency`, open loop with a `rate`; exactly one of them.

    concurrency    requests kept on their way
    rate           requests due a second, whether or not earlier ones were answered
    arrivals       how the open loop spaces them
    period_s       after which the open loop repeats itself
    draw           which of the possible Poisson arrivals
    shared_memory  tensors go through system shared memory instead of gRPC
    processes      of our client; perf_analyzer is always one, with threads
    within_s       our client is set up as it is shipped and gives up what is not answered so soon; None: it is patient
    """

    concurrency: int | None = None
    rate: int | None = None
    arrivals: Arrivals = "constant"
    period_s: int = 1
    draw: int = 0
    shared_memory: bool = False
    processes: int = 1
    within_s: float | None = None

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("traffic has a concurrency or a rate, not both")

    @property
    def words(self) -> str:
        if self.concurrency is not None:
            shape = f"concurrency {self.concurrency}"
        else:
            shape = f"open loop, {self.arrivals}, {self.rate} a second"
        return ", ".join(
            [shape]
            + ["shared memory"] * self.shared_memory
            + [f"{self.processes} processes"] * (self.processes > 1)
        )

    def shares(self) -> list["Traffic"]:
        """What each of our processes sends."""
        if self.concurrency is None:
            rates = _split(self.rate or 0, self.processes)
            return [replace(self, rate=rate, processes=1) for rate in rates]
        parts = _split(self.concurrency, self.processes)
        return [replace(self, concurrency=part, processes=1) for part in parts]

    def gaps_us(self) -> list[int]:
        """Before each request of a period, of the open loop. In any time as long as a period as many are due.

        Poisson arrivals of which the number is known lie anywhere, each evenly and on its own.
        """
        period_us, count = self.period_s * 1_000_000, (self.rate or 0) * self.period_s
        if self.arrivals == "poisson":
            chance = random.Random(self.draw)
            due_us = sorted(chance.randrange(period_us) for _ in range(count))
        else:
            due_us = [period_us * number // count for number in range(count)]
        return [later - earlier for earlier, later in pairwise([due_us[-1] - period_us, *due_us])]


def _split(whole: int, count: int) -> list[int]:
    share, rest = divmod(whole, count)
    parts = [share + (number < rest) for number in range(count)]
    return [part for part in parts if part]

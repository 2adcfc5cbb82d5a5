"""What a load generator sends: how requests follow each other, over which transport, from how many processes."""

from dataclasses import dataclass, replace
from typing import Literal

Arrivals = Literal["constant", "poisson"]


class LoadEnded(Exception):
    """A load generator ended by itself; the message is its own."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Closed loop with a `concurrency`, open loop with a `rate`; exactly one of them.

    concurrency    requests kept on their way
    rate           requests begun a second, whether or not earlier ones were answered
    arrivals       how the open loop spaces them
    shared_memory  tensors go through system shared memory instead of gRPC
    processes      of our client; perf_analyzer is always one, with threads
    """

    concurrency: int | None = None
    rate: float | None = None
    arrivals: Arrivals = "constant"
    shared_memory: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("traffic has a concurrency or a rate, not both")

    @property
    def words(self) -> str:
        if self.concurrency is not None:
            shape = f"closed loop, concurrency {self.concurrency}"
        else:
            shape = f"open loop, {self.arrivals}, {self.rate:.0f} a second"
        return ", ".join(
            [shape]
            + ["shared memory"] * self.shared_memory
            + [f"{self.processes} processes of ours"] * (self.processes > 1)
        )

    def shares(self) -> list["Traffic"]:
        """What each of our processes sends."""
        count = self.processes
        if self.rate is not None:
            return [replace(self, rate=self.rate / count, processes=1)] * count
        whole, rest = divmod(self.concurrency or 0, count)
        parts = [whole + (number < rest) for number in range(count)]
        return [replace(self, concurrency=part, processes=1) for part in parts if part]

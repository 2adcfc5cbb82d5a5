"""Two loads on one server, measured in turns: the counters of Triton are the arbiter."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np

from orchestrator.embedded.triton import EmbeddedTriton
from tests.performance.bench import Bench
from tests.performance.last_words import explained
from tests.performance.outcome import Figure, figure_text
from tests.performance.statistic import geometric_mean
from tests.performance.throughput import Throughput, count, reached, throughput
from tests.performance.traffic import LoadEnded, ToolEnded
from tests.performance.turns import TURNS, stopped, take_turns
from tests.performance.usage import Account, pin

PAIRS = 5
MORE_PAIRS = 5  # in the place of void ones
RAMP_S = 1.0
MEASURED_S = 3
# A pair whose batches differ by more compares two ways of batching, not two clients.
BATCH_TOLERANCE = 0.10
# Of what was due in an open loop. A server that gives perf_analyzer less is no measure for ours.
KEPT_UP = 0.98


@dataclass(frozen=True, slots=True)
class AtWork:
    """A load that runs. p99_ms: of each second so far, as the load itself saw it; empty where it does not say."""

    pids: tuple[int, ...]
    p99_ms: Callable[[], list[float]]


# Given the number of the pair, so that both of a pair may draw the same.
Load = Callable[[int], AbstractContextManager[AtWork]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of one load.

    p99_ms      median over its seconds of each one's 99th percentile; NaN where the load does not say
    load_cores  CPU of the load, in cores
    triton_cores CPU of Triton and its backends, in cores
    """

    throughput: Throughput
    p99_ms: float
    load_cores: float
    triton_cores: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of each, one right after the other. due_per_s: what both were to send, in an open loop."""

    ours: Measured
    theirs: Measured
    due_per_s: float | None = None

    @property
    def ratio(self) -> float:
        """In an open loop also that of the shares answered of what was due, which is the same for both."""
        return self.ours.throughput.per_s / self.theirs.throughput.per_s

    @property
    def void(self) -> bool:
        if self.due_per_s is not None:  # batches follow from what was due, and from the client
            return self.theirs.throughput.per_s < KEPT_UP * self.due_per_s
        return self.refused or self.batches_differ

    @property
    def refused(self) -> bool:
        """Some had waited for half a second: perf_analyzer ends there, ours would go on."""
        return self.ours.throughput.failed + self.theirs.throughput.failed > 0

    @property
    def batches_differ(self) -> bool:
        batches = self.ours.throughput.batch / self.theirs.throughput.batch
        return abs(batches - 1.0) > BATCH_TOLERANCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and every pair.

    asked          what the lower end of the interval must reach; None for nothing
    own_batches    the batches are one side's own doing, so that no pair is void for them
    given_up       pairs in which perf_analyzer gave up, and that were repeated
    """

    what: str
    pairs: tuple[Pair, ...]
    asked: float | None
    own_batches: bool = False
    given_up: int = 0

    @property
    def counting(self) -> list[Pair]:
        return [pair for pair in self.pairs if self.own_batches or not pair.void]

    @property
    def shown(self) -> Sequence[Pair]:
        """What every figure is of: the pairs that count; all where none does, which then is no verdict."""
        return self.counting or self.pairs

    @property
    def bar(self) -> float | None:
        """Too few pairs that count are not held against anything."""
        return self.asked if len(self.counting) >= PAIRS else None

    def ratio(self) -> tuple[float, float, float]:
        """Mean and 95 % interval."""
        return geometric_mean([pair.ratio for pair in self.shown])

    def figure(self) -> Figure:
        mean, low, high = self.ratio()
        count = len(self.counting)
        words = [f"{low:.3f} to {high:.3f} (95 %)"] if count > 1 else []
        words.append(f"{count} pairs")
        if self.own_batches and (differing := sum(pair.batches_differ for pair in self.pairs)):
            words.append(f"batches differ in {differing}")
        if count < len(self.pairs):
            words.append(f"{len(self.pairs) - count} void")
        if self.given_up:
            words.append(f"perf_analyzer gave up in {self.given_up} more")
        bar = "" if self.bar is None else f"lower end at least {self.bar:g}"
        held = None if self.bar is None else low >= self.bar
        return Figure(self.what, mean, "", ", ".join(words), bar, held)

    def row(self) -> tuple[str, ...]:
        return (
            self.what,
            *(self._both(lambda m: m.throughput.per_s, range_too=True).split(" / ")),
            self._answered(),
            self._both(lambda m: m.throughput.batch),
            self._both(lambda m: m.p99_ms),
            self._both(lambda m: m.load_cores / m.throughput.per_s * 1000),
            self._both(lambda m: m.triton_cores / m.throughput.per_s * 1000),
            f"{sum(p.ours.throughput.failed for p in self.pairs)} / "
            f"{sum(p.theirs.throughput.failed for p in self.pairs)}",
        )

    def _answered(self) -> str:
        due = [pair.due_per_s for pair in self.shown if pair.due_per_s is not None]
        return self._both(lambda m: m.throughput.per_s / due[0] * 100) if due else ""

    def _both(self, value: Callable[[Measured], float], *, range_too: bool = False) -> str:
        found = [[value(pair.ours) for pair in self.shown], [value(p.theirs) for p in self.shown]]
        if range_too:
            return " / ".join(f"{np.mean(e):.0f} ({min(e):.0f} to {max(e):.0f})" for e in found)
        means = [float(np.mean(each)) for each in found]
        return " / ".join("–" if np.isnan(mean) else figure_text(mean) for mean in means)  # noqa: RUF001

    def mean(self, value: Callable[[Measured], float], *, ours: bool) -> float:
        return float(np.mean([value(pair.ours if ours else pair.theirs) for pair in self.shown]))


HEADER = (
    "what",
    "ours, a second (range)",
    "perf_analyzer, a second (range)",
    "answered of what was due, %, ours / theirs",
    "mean batch, ours / theirs",
    "p99 ms, ours / theirs",
    "load's CPU ms a request, ours / theirs",
    "Triton's CPU ms a request, ours / theirs",
    "failed, ours / theirs",
)


@dataclass(frozen=True, slots=True)
class Arena:
    """A server and a model on it.

    load_core   the only one that the loads may use; None for all
    measured_s  how long each load is measured
    pairs       that count, of each comparison
    """

    bench: Bench
    triton: EmbeddedTriton
    model: str
    load_core: int | None = None
    measured_s: int = MEASURED_S
    pairs: int = PAIRS

    @property
    def seconds(self) -> int:
        """How long each load is measured."""
        return self.bench.choose(self.measured_s, 2)

    async def compare(
        self,
        what: str,
        ours: Load,
        theirs: Load,
        bar: float | None,
        *,
        due_per_s: float | None = None,
        own_batches: bool = False,
        in_turns: bool = False,
    ) -> Comparison:
        """A-B-B-A: what drifts meanwhile weighs on both alike. Pairs that do not count are repeated, some times.

        In turns: within each pair, too (`turns.py`), for loads that may be stopped, as no open loop may.

        Raises LoadEnded, OSError.
        """
        self.bench.say(what)
        wanted = self.bench.choose(self.pairs, 1)
        most = self.bench.choose(MORE_PAIRS, 0)
        measure = self.measure_in_turns if in_turns else self.measure
        found: list[Pair] = []
        given_up = 0
        while len(found) < wanted + most:
            order = (ours, theirs) if len(found) % 2 == 0 else (theirs, ours)
            try:
                measured = dict(zip(order, await measure(*order, len(found)), strict=True))
            except ToolEnded:
                given_up += 1
                if given_up > most:
                    raise
                continue
            found.append(Pair(measured[ours], measured[theirs], due_per_s))
            comparison = Comparison(what, tuple(found), bar, own_batches, given_up)
            if len(comparison.counting) >= wanted:
                break
        return comparison

    async def measure(self, first: Load, second: Load, number: int) -> tuple[Measured, Measured]:
        """One after the other. Raises LoadEnded, TritonEnded, OSError."""
        async with self._explaining():
            return await self._alone(first, number), await self._alone(second, number)

    async def measure_in_turns(
        self, first: Load, second: Load, number: int
    ) -> tuple[Measured, Measured]:
        """Latencies of each alone, for a load that is stopped has none. Raises LoadEnded, TritonEnded, OSError."""
        async with self._explaining():
            with ExitStack() as stack:
                with first(number) as one:
                    await self._under_way(one)
                    await asyncio.sleep(self.seconds)
                    one_p99_ms = await self._p99_ms(one)
                    with stopped(one.pids):
                        two = stack.enter_context(second(number))
                        await self._under_way(two)
                        turns = await take_turns(
                            (one.pids, two.pids),
                            self.triton.pid,
                            lambda: count(self.triton.http_url, self.model),
                            self.bench.choose(TURNS, 2),
                        )
                # A second of perf_analyzer's may have begun while it was stopped, and another at a turn of its own.
                await asyncio.sleep(2 * RAMP_S + self.seconds)
                p99_ms = one_p99_ms, await self._p99_ms(two)
        one_found, two_found = (
            Measured(each.throughput, at, each.load_cores, each.triton_cores)
            for each, at in zip(turns, p99_ms, strict=True)
        )
        return one_found, two_found

    @asynccontextmanager
    async def _explaining(self) -> AsyncIterator[None]:
        try:
            yield
        except (LoadEnded, OSError) as failure:  # TimeoutError too
            raise await explained(failure, self.triton, self.bench) from failure

    async def _under_way(self, work: AtWork) -> None:
        self._place(work)
        await reached(self.triton.http_url, self.model, RAMP_S)

    def _place(self, work: AtWork) -> None:
        if self.load_core is not None:
            for pid in work.pids:
                pin(pid, self.load_core)

    async def _p99_ms(self, work: AtWork) -> float:
        p99_ms = await asyncio.to_thread(work.p99_ms)
        return median(p99_ms[-self.seconds :]) if p99_ms else float("nan")

    async def _alone(self, load: Load, number: int) -> Measured:
        with load(number) as work:
            self._place(work)
            roots = {"triton": self.triton.pid, **{f"load-{pid}": pid for pid in work.pids}}
            account: list[Account] = []
            found = await throughput(
                self.triton.http_url,
                self.model,
                RAMP_S,
                float(self.seconds),
                on_begin=lambda: account.append(Account(roots)),
            )
            shares = account[0].close().by_role
            p99_ms = await self._p99_ms(work)
        return Measured(
            found,
            p99_ms,
            sum(cores for role, cores in shares.items() if role != "triton"),
            shares["triton"],
        )


@contextmanager
def apart(triton: EmbeddedTriton) -> Iterator[None]:
    """Triton on the first core only, meanwhile."""
    pin(triton.pid, 0)
    try:
        yield
    finally:
        pin(triton.pid, None)

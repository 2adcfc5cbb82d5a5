"""What our client and the whole pipeline get out of Triton, against Triton's own load generator."""

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace

from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.tuning.chart import Forest, Point, Ratio, Scatter, Series
from tests.performance.bench import Bench, Servers, folder_of_one_run, servers, serving
from tests.performance.heavy_model import TIMES, write_heavy
from tests.performance.outcome import Breakdown, Outcome
from tests.performance.paired_model import PAIR, write_paired
from tests.performance.perf_analyzer import PerfAnalyzer
from tests.performance.rig import FILES, FRAMES, Rig
from tests.performance.scene import people_clip
from tests.performance.side_by_side import HEADER, Arena, Comparison, Measured, apart
from tests.performance.traffic import Arrivals, LoadEnded, Traffic
from tests.performance.turns import TURN_S, TURNS
from tests.performance.wire_model import NAME as WIRE
from tests.performance.wire_model import write_wire

MODEL = "object_detector"
FEW, MOST = (1, 2), 8  # requests on their way; with more than two, batches are the clients' own
# Of what the closed loop reaches: busy, but without a queue that grows.
OPEN_SHARE = 0.6
# Where a ratio is near its bar: with five pairs, on a host that does other things besides, the interval would be wider
# than what is left to it.
NEAR_PAIRS = 8
ARRIVALS: tuple[Arrivals, ...] = ("constant", "poisson")
INFER_BAR, WIRE_BAR, E2E_BAR = 0.95, 0.90, 0.90
# The heavy network answers ten batches a second: one more or less at the edges of three seconds would be 3 %.
HEAVY_S = 10
E2E = f"R_e2e: pipeline over {FILES} files"


@dataclass(slots=True)
class Found:
    """What the parts brought. curves: by whether memory is shared and how many requests are on their way."""

    comparisons: list[Comparison] = field(default_factory=list)
    curves: dict[bool, dict[int, Comparison]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    async def hold(self, comparing: Awaitable[Comparison]) -> Comparison | None:
        """Keep it; one that fails is told in a note, and the others go on."""
        try:
            found = await comparing
        except (LoadEnded, OSError) as failure:  # TimeoutError too; and a Triton that went away
            self.notes.append(f"Not measured: {failure}.")
            return None
        self.comparisons.append(found)
        return found

    def draw(self, traffic: Traffic, comparison: Comparison | None) -> None:
        if traffic.concurrency is not None and comparison is not None:
            curve = self.curves.setdefault(traffic.shared_memory, {})
            curve[traffic.concurrency] = comparison


async def measure(bench: Bench) -> Outcome:
    tool = await asyncio.to_thread(PerfAnalyzer.find, bench)
    with folder_of_one_run() as folder:
        clip = await asyncio.to_thread(people_clip, bench)
        rig = Rig(bench, folder, tool, clip)
        found = Found()
        if bench.wants("infer") or bench.wants("e2e"):
            async with servers(folder) as beside:
                await rig.record(beside.triton.grpc_url, MODEL)
                if bench.wants("infer"):
                    await _infer(rig, beside.triton, found)
                    async with serving(write_paired, folder / "paired", MODEL) as paired:
                        await _infer_in_pairs(rig, paired, found)
                if bench.wants("e2e"):
                    await _end_to_end(rig, beside, found)
                    async with serving(write_heavy, folder / "heavy", MODEL) as heavy:
                        await _inference_bound(rig, beside.asking(heavy), found)
        if bench.wants("wire"):
            async with serving(write_wire, folder / "wire", MODEL) as triton:
                await rig.record(triton.grpc_url, WIRE)
                await _wire(rig, triton, found)
        return _outcome(rig, found)


async def _compare(
    rig: Rig, found: Found, arena: Arena, traffic: Traffic, bar: float | None, where: str = ""
) -> Comparison | None:
    """Our client against perf_analyzer, with the same traffic."""
    url, model = arena.triton.grpc_url, arena.model
    ours, theirs = rig.ours(url, model, traffic), rig.theirs(url, model, traffic)
    what = f"{'R_wire' if model == WIRE else 'R_infer'}: {traffic.words}{where}"
    comparing = arena.compare(
        what, ours, theirs, bar, due_per_s=traffic.rate, in_turns=traffic.rate is None
    )
    return await found.hold(comparing)


async def _infer(rig: Rig, triton: EmbeddedTriton, found: Found) -> None:
    """The model as it is shipped."""
    arena = Arena(rig.bench, triton, MODEL)
    for shared_memory in (False, True):
        for concurrency in FEW:
            traffic = Traffic(concurrency=concurrency, shared_memory=shared_memory)
            few = replace(arena, pairs=NEAR_PAIRS)
            found.draw(traffic, await _compare(rig, found, few, traffic, INFER_BAR))
    rush = await _compare(rig, found, arena, Traffic(concurrency=MOST), INFER_BAR)
    if rush is None:
        return
    rate = max(round(OPEN_SHARE * rush.mean(lambda m: m.throughput.per_s, ours=False)), 1)
    for arrivals in ARRIVALS:
        traffic = Traffic(rate=rate, arrivals=arrivals, period_s=arena.seconds)
        await _compare(rig, found, arena, traffic, INFER_BAR)


async def _infer_in_pairs(rig: Rig, triton: EmbeddedTriton, found: Found) -> None:
    """Where many wait for a server that takes two at a time, both clients get the same batches."""
    arena = Arena(rig.bench, triton, MODEL)
    where = f", batches of at most {PAIR}"
    for shared_memory in (False, True):
        traffic = Traffic(concurrency=MOST, shared_memory=shared_memory)
        found.draw(traffic, await _compare(rig, found, arena, traffic, INFER_BAR, where))
    if _cores() >= 2:
        with apart(triton):
            alone, one = replace(arena, load_core=1), Traffic(concurrency=MOST)
            await _compare(rig, found, alone, one, INFER_BAR, f"{where}, Triton apart")


async def _wire(rig: Rig, triton: EmbeddedTriton, found: Found) -> None:
    arena = Arena(rig.bench, triton, WIRE)
    one = Traffic(concurrency=MOST)
    shared = replace(one, shared_memory=True)
    await _compare(rig, found, arena, one, None)
    for traffic in (replace(one, processes=2), shared, replace(shared, processes=2)):
        await _compare(rig, found, arena, traffic, WIRE_BAR)
    if _cores() >= 2:
        with apart(triton):
            alone = replace(arena, load_core=1)
            for traffic in (shared, replace(shared, processes=2)):
                await _compare(rig, found, alone, traffic, WIRE_BAR, ", Triton apart")


async def _end_to_end(rig: Rig, beside: Servers, found: Found) -> None:
    """The pipeline on shared cores, and with Triton on a core of its own."""
    triton = beside.triton
    ours = rig.pipeline(beside)
    theirs = rig.theirs(triton.grpc_url, MODEL, Traffic(concurrency=FILES))
    arena = Arena(rig.bench, triton, MODEL)
    shared = await found.hold(
        arena.compare(f"{E2E}, shared cores", ours, theirs, None, own_batches=True)
    )
    if shared is not None:
        share = _triton_share(shared)
        found.notes.append(
            f"Shared cores: Triton took {share:.0%} of a frame's CPU; not inference-bound, so no bar."
        )
    if _cores() < 2:
        return
    with apart(triton):
        alone = replace(arena, load_core=1, pairs=NEAR_PAIRS)
        other = await found.hold(
            alone.compare(f"{E2E}, Triton apart", ours, theirs, E2E_BAR, own_batches=True)
        )
    if other is not None:
        busy = [other.mean(lambda m: m.triton_cores, ours=side) for side in (True, False)]
        used = other.mean(lambda m: m.load_cores, ours=True)
        found.notes.append(
            f"Triton apart: Triton used {busy[0]:.2f} of its core under the pipeline and {busy[1]:.2f} under "
            f"perf_analyzer, and the pipeline {used:.2f} of the other."
        )


async def _inference_bound(rig: Rig, heavier: Servers, found: Found) -> None:
    ours = rig.pipeline(heavier)
    theirs = rig.theirs(heavier.triton.grpc_url, MODEL, Traffic(concurrency=FILES))
    arena = Arena(rig.bench, heavier.triton, MODEL, measured_s=HEAVY_S)
    what = f"{E2E}, shared cores, heavy network"
    heavy = await found.hold(arena.compare(what, ours, theirs, E2E_BAR, own_batches=True))
    if heavy is not None:
        found.notes.append(
            f"Heavy network: {MODEL} with a graph that looks at each frame {TIMES} times and finds the same, "
            f"batches of at most {PAIR}; Triton took {_triton_share(heavy):.0%} of a frame's CPU."
        )


def _triton_share(comparison: Comparison) -> float:
    triton = comparison.mean(lambda m: m.triton_cores, ours=True)
    return triton / (triton + comparison.mean(lambda m: m.load_cores, ours=True))


def _outcome(rig: Rig, found: Found) -> Outcome:
    comparisons = found.comparisons
    charts: dict[str, Forest | Scatter] = {
        "serving-ratio": Forest("FESS / perf_analyzer, inferences a second", _ratios(comparisons))
    }
    if found.curves:
        charts["serving-latency"] = _latency(found.curves)
    return Outcome(
        "What Triton serves: our client and pipeline against perf_analyzer",
        tuple(comparison.figure() for comparison in comparisons),
        (*_notes(), *found.notes, *([rig.account()] if rig.witnessed else [])),
        (Breakdown("Side by side", HEADER, tuple(each.row() for each in comparisons)),),
        charts,
    )


def _ratios(comparisons: list[Comparison]) -> tuple[Ratio, ...]:
    return tuple(Ratio(each.what, *each.ratio(), each.bar) for each in comparisons)


def _latency(curves: dict[bool, dict[int, Comparison]]) -> Scatter:
    return Scatter(
        f"Latency against throughput, closed loop (numbers: concurrency; {MOST} in batches of at most {PAIR})",
        "inferences a second",
        "p99, ms",
        tuple(
            Series(who + ", shared memory" * shared_memory, _points(curve, ours=ours), joined=True)
            for shared_memory, curve in curves.items()
            for who, ours in (("our client", True), ("perf_analyzer", False))
        ),
    )


def _points(curve: dict[int, Comparison], *, ours: bool) -> tuple[Point, ...]:
    return tuple(
        Point(
            comparison.mean(lambda m: m.throughput.per_s, ours=ours),
            comparison.mean(_p99_ms, ours=ours),
            f"{concurrency}",
        )
        for concurrency, comparison in curve.items()
    )


def _p99_ms(measured: Measured) -> float:
    return measured.p99_ms


def _notes() -> tuple[str, ...]:
    return (
        f"Embedded Triton, {MODEL}, gRPC where no shared memory is named, {FRAMES} frames of a clip with people as the "
        "pipeline sends them, in turn, by both, one a request. Throughput and batch size are from Triton's own "
        "counters. A pair whose mean batch sizes differ by more than 10 %, or in which Triton refused what had waited "
        "half a second, is void and repeated, some times; the pipeline's batches are its own doing and void "
        "none. perf_analyzer gives up at a refusal; such pairs are repeated too, and counted. Every figure is of the "
        "pairs that are not void; of all where all are. With fewer than five there is no bar.",
        f"Closed loops: both clients of a pair run and take {TURNS} turns each, A-B-B-A, of {TURN_S:g} s, in which the "
        "other is stopped; latencies are of each alone, before or after. Open loops and the pipeline: one after the "
        "other, in the order A-B, B-A.",
        f"Batches of at most {PAIR}: a server with the same model and that max_batch_size, where both clients get the "
        "same batches; as it is shipped, each forms its own.",
        "Open loop: both send the same arrivals, which repeat after as many seconds as are measured, so that as many "
        "are due whenever that begins; other Poisson arrivals for each pair, which is void where perf_analyzer "
        "answered less than 98 % of what was due: at a ratio of 1 our client kept up.",
        "p99: median over seconds of each one's p99, as each client saw it; our open loop counts from when a request "
        "was due, perf_analyzer from when it was sent.",
        "Shared cores: load and Triton compete for the same cores, so that a ratio compares the CPU time of the loads "
        "too. Triton apart: Triton on the first core and the load on the second, as where a GPU infers: "
        "whether a client keeps Triton busy.",
        f"R_wire: a model with the tensors of {MODEL} that computes nothing, no batching: what is left is transport. "
        "2 processes: of ours; perf_analyzer is one, with a thread a request.",
        f"R_e2e: `fess run` over {FILES} files (640x360) as fast as they are taken, up to two frames of each on their "
        "way, motion gate and faces off, from decoding to the event's acknowledgement by Redis Streams, against "
        f"concurrency {FILES}.",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))

"""What our client and the whole pipeline get out of Triton, against Triton's own load generator."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.tuning.chart import Forest, Point, Ratio, Scatter, Series
from tests.e2e.running import running
from tests.performance.bench import MODELS, Bench, Servers, folder_of_one_run, servers
from tests.performance.exposition import Samples, samples, total
from tests.performance.heavy_model import BATCH, write_heavy
from tests.performance.load import Order, lacks_shared_memory, own_windows_p99_ms
from tests.performance.machine import ROOT
from tests.performance.outcome import Breakdown, Outcome
from tests.performance.perf_analyzer import PerfAnalyzer, windows_p99_ms, write_input
from tests.performance.scene import PRODUCTION, people_clip
from tests.performance.side_by_side import HEADER, Arena, AtWork, Comparison, Load, Measured, apart
from tests.performance.tensors import read, recorded
from tests.performance.traffic import Arrivals, LoadEnded, Traffic
from tests.performance.wire_model import NAME as WIRE
from tests.performance.wire_model import write_wire

MODEL = "object_detector"
FRAMES = 16
CONCURRENCIES = (1, 2, 4, 8)
MOST = CONCURRENCIES[-1]
FILES = 8
# Of what the closed loop reaches: busy, but without a queue that grows.
OPEN_SHARE = 0.6
ARRIVALS: tuple[Arrivals, ...] = ("constant", "poisson")
INFER_BAR, WIRE_BAR, E2E_BAR = 0.95, 0.90, 0.90
E2E = f"R_e2e: pipeline over {FILES} files"
TIMES = 12  # as often as the heavy network looks at a frame
MODULE = "tests.performance.load"
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Rig:
    """Who sends. clip: what the pipeline decodes, and where the frames are from that the clients send."""

    bench: Bench
    folder: Path
    tool: PerfAnalyzer
    clip: Path
    witnessed: list[Samples] = field(default_factory=list)

    @property
    def frames(self) -> Path:
        return self.folder / "frames.npz"

    @property
    def data(self) -> Path:
        """The same tensors as perf_analyzer reads them."""
        return self.folder / "frames.json"

    async def record(self, url: str, model: str) -> None:
        await recorded(url, model, self.clip, FRAMES, self.frames)
        write_input(self.data, read(self.frames))

    def ours(self, url: str, model: str, traffic: Traffic) -> Load:
        return lambda: _clients(self.folder, url, model, self.frames, traffic)

    def theirs(self, url: str, model: str, traffic: Traffic) -> Load:
        return lambda: self._perf_analyzer(url, model, traffic)

    @contextmanager
    def _perf_analyzer(self, url: str, model: str, traffic: Traffic) -> Iterator[AtWork]:
        log = self.folder / "perf.log"
        with self.tool.loading(url, model, self.data, traffic, log) as pid:
            yield AtWork((pid,), lambda: windows_p99_ms(log))

    def pipeline(self, beside: Servers) -> Load:
        return lambda: self._watching(beside)

    @contextmanager
    def _watching(self, beside: Servers) -> Iterator[AtWork]:
        clip = {"url": str(self.clip), "pace": "fast", "loop": True, "fps": 50.0}
        cameras: dict[str, dict[str, object]] = {f"file-{n}": clip for n in range(FILES)}
        variables = {**PRODUCTION, "FACES_ENABLED": "false", "TRITON_TIMEOUT": "5"}
        if lacks_shared_memory() is None:
            variables["TRITON_SHARED_MEMORY"] = "off"  # the same transport on both sides
        with running(self.folder, beside.settings, cameras, **variables) as fess:
            try:
                yield AtWork((fess.process.pid,), lambda: [])
            except TimeoutError as late:
                raise TimeoutError(f"{late}; fess said: {fess.log[-1500:]}") from late
            self.witnessed.append(samples(fess.get("/metrics")[1].decode()))

    def account(self) -> str:
        """What the pipeline said of its own work."""
        inspected = sum(total(each, "fess_frames_inspected_total") for each in self.witnessed)
        acknowledged = sum(
            total(each, "fess_kafka_events_sent_total", status="acknowledged")
            for each in self.witnessed
        )
        waiting = max(total(each, "fess_outbox_events") for each in self.witnessed)
        dropped = sum(total(each, "fess_events_dropped_total") for each in self.witnessed)
        return (
            f"Over all its runs {inspected:.0f} frames were inspected and {acknowledged:.0f} events acknowledged "
            f"(a frame without people has none), {dropped:.0f} dropped; at most {waiting:.0f} waited at an end."
        )


@dataclass(slots=True)
class Found:
    """What the parts brought."""

    comparisons: list[Comparison] = field(default_factory=list)
    closed: dict[int, Comparison] = field(default_factory=dict)
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
                    await _infer(rig, beside, found)
                if bench.wants("e2e"):
                    await _end_to_end(rig, beside, found)
                    async with _heavier(folder, beside) as heavier:
                        await _inference_bound(rig, heavier, found)
        if bench.wants("wire"):
            async with _wire_server(folder) as triton:
                await rig.record(triton.grpc_url, WIRE)
                await _wire(rig, triton, found)
        return _outcome(rig, found)


async def _infer(rig: Rig, beside: Servers, found: Found) -> None:
    triton = beside.triton
    arena = Arena(rig.bench, triton, MODEL)

    async def compare(arena: Arena, traffic: Traffic, where: str) -> Comparison | None:
        ours = rig.ours(triton.grpc_url, MODEL, traffic)
        theirs = rig.theirs(triton.grpc_url, MODEL, traffic)
        what = f"R_infer: {traffic.words}{where}"
        return await found.hold(arena.compare(what, ours, theirs, INFER_BAR))

    reached = 0.0
    for concurrency in CONCURRENCIES:
        closed = await compare(arena, Traffic(concurrency=concurrency), "")
        if closed is not None:
            found.closed[concurrency] = closed
            reached = closed.mean(lambda m: m.throughput.per_s, ours=False)
    if lacks_shared_memory() is None:
        await compare(arena, Traffic(concurrency=MOST, shared_memory=True), "")
    for arrivals in ARRIVALS if reached else ():
        rate = max(round(OPEN_SHARE * reached), 1)
        await compare(arena, Traffic(rate=rate, arrivals=arrivals), "")
    if _cores() >= 2:
        with apart(triton):
            alone = replace(arena, load_core=1)
            await compare(alone, Traffic(concurrency=MOST), ", Triton apart")


async def _wire(rig: Rig, triton: EmbeddedTriton, found: Found) -> None:
    arena = Arena(rig.bench, triton, WIRE)
    one = Traffic(concurrency=MOST)
    kinds = [(one, None), (replace(one, processes=2), WIRE_BAR)]
    lacking = lacks_shared_memory()
    if lacking is None:
        kinds.append((replace(one, shared_memory=True), WIRE_BAR))
        kinds.append((replace(one, shared_memory=True, processes=2), WIRE_BAR))
    else:
        found.notes.append(f"R_wire with shared memory is left out: {lacking}.")
    for traffic, bar in kinds:
        ours = rig.ours(triton.grpc_url, WIRE, traffic)
        theirs = rig.theirs(triton.grpc_url, WIRE, traffic)
        what = f"R_wire: {traffic.words}"
        await found.hold(arena.compare(what, ours, theirs, bar))


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
        alone = replace(arena, load_core=1)
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
    arena = Arena(rig.bench, heavier.triton, MODEL)
    what = f"{E2E}, shared cores, heavy network"
    heavy = await found.hold(arena.compare(what, ours, theirs, E2E_BAR, own_batches=True))
    if heavy is not None:
        found.notes.append(
            f"Heavy network: {MODEL} with a graph that looks at each frame {TIMES} times and finds the same, "
            f"batches of at most {BATCH}; Triton took {_triton_share(heavy):.0%} of a frame's CPU."
        )


def _triton_share(comparison: Comparison) -> float:
    triton = comparison.mean(lambda m: m.triton_cores, ours=True)
    return triton / (triton + comparison.mean(lambda m: m.load_cores, ours=True))


def _outcome(rig: Rig, found: Found) -> Outcome:
    comparisons = found.comparisons
    charts: dict[str, Forest | Scatter] = {
        "serving-ratio": Forest("FESS / perf_analyzer, inferences a second", _ratios(comparisons))
    }
    if found.closed:
        charts["serving-latency"] = _latency(found.closed)
    return Outcome(
        "What Triton serves: our client and pipeline against perf_analyzer",
        tuple(comparison.figure() for comparison in comparisons),
        (*_notes(), *found.notes, *([rig.account()] if rig.witnessed else [])),
        (Breakdown("Side by side", HEADER, tuple(each.row() for each in comparisons)),),
        charts,
    )


def _ratios(comparisons: list[Comparison]) -> tuple[Ratio, ...]:
    return tuple(Ratio(each.what, *each.ratio(), each.bar) for each in comparisons)


def _latency(closed: dict[int, Comparison]) -> Scatter:
    def points(*, ours: bool) -> tuple[Point, ...]:
        return tuple(
            Point(
                comparison.mean(lambda m: m.throughput.per_s, ours=ours),
                comparison.mean(_p99_ms, ours=ours),
                f"{concurrency}",
            )
            for concurrency, comparison in closed.items()
        )

    both = ("our client", points(ours=True)), ("perf_analyzer", points(ours=False))
    return Scatter(
        "Latency against throughput, closed loop (numbers: concurrency)",
        "inferences a second",
        "p99, ms",
        tuple(Series(name, each, joined=True) for name, each in both),
    )


def _p99_ms(measured: Measured) -> float:
    return measured.p99_ms


def _notes() -> tuple[str, ...]:
    return (
        f"Embedded Triton, {MODEL}, gRPC, {FRAMES} frames of a clip with people as the pipeline sends them, in turn, "
        "by both, one a request. Each pair measures both, one right after the other, in the order A-B, B-A; "
        "throughput and batch size are from Triton's own counters. A pair whose mean batch sizes differ by more "
        "than 10 % is void and repeated, some times; the pipeline's batches are its own doing and void none.",
        "p99: median over seconds of each one's p99, as each client saw it; our open loop counts from when a request "
        "was due, perf_analyzer from when it was sent.",
        "Shared cores: load and Triton compete for the same cores, so that a ratio compares the CPU time of the loads "
        "too. Triton apart: Triton on the first core and the load on the second, as where a GPU infers.",
        f"R_wire: a model with the tensors of {MODEL} that computes nothing, no batching: what is left is transport.",
        f"R_e2e: `fess run` over {FILES} files (640x360) as fast as they are taken, motion gate and faces off, from "
        f"decoding to the event's acknowledgement by Redis Streams, against concurrency {FILES}.",
    )


@asynccontextmanager
async def _wire_server(folder: Path) -> AsyncIterator[EmbeddedTriton]:
    repository = write_wire(folder / "wire", MODELS / MODEL)
    async with EmbeddedTriton(repository, folder / "wire-state") as triton:
        yield triton


@asynccontextmanager
async def _heavier(folder: Path, beside: Servers) -> AsyncIterator[Servers]:
    repository = write_heavy(folder / "heavy", MODELS / MODEL, TIMES)
    async with EmbeddedTriton(repository, folder / "heavy-state") as triton:
        changed = beside.settings.triton.model_copy(update={"url": triton.grpc_url})
        settings = beside.settings.model_copy(update={"triton": changed})
        yield replace(beside, triton=triton, settings=settings)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _clients(
    folder: Path, url: str, model: str, frames: Path, traffic: Traffic
) -> Iterator[AtWork]:
    shares = traffic.shares()
    logs = [folder / f"ours-{number}.log" for number in range(len(shares))]
    with ExitStack() as stack:
        pids = []
        for share, log in zip(shares, logs, strict=True):
            order = Order(url, model, str(frames), share).text()
            output = stack.enter_context(log.open("wb"))
            pids.append(stack.enter_context(_process(order, output.fileno())))
        yield AtWork(tuple(pids), lambda: own_windows_p99_ms(logs))


@contextmanager
def _process(order: str, output: int) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", MODULE, order], cwd=ROOT, stdout=output)
    try:
        yield process.pid
        if process.poll() is not None:
            raise LoadEnded("our load ended early; its message is above")
    finally:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""What our client and the whole pipeline get out of Triton, against Triton's own load generator."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from orchestrator.inference.letterbox import letterbox
from orchestrator.picture import ArrayPicture
from tests.e2e.running import running
from tests.performance.bench import Bench, Servers, folder_of_one_run, servers
from tests.performance.exposition import Samples, samples, total
from tests.performance.machine import ROOT
from tests.performance.outcome import Breakdown, Figure, Outcome, at_least
from tests.performance.perf_analyzer import PerfAnalyzer, write_input
from tests.performance.scene import PRODUCTION, people_clip
from tests.performance.statistic import geometric_mean
from tests.performance.throughput import Throughput, throughput
from tests.performance.usage import pin

MODEL, INPUT, SIZE = "object_detector", "images", 320
CONCURRENCIES = (1, 2, 4, 8)
FILES = 8
RAMP_S = 1.0
# A pair whose batches differ by more compares two ways of batching, not two clients.
BATCH_TOLERANCE = 0.10
MODULE = "tests.performance.load"

Load = Callable[[], AbstractContextManager[int]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of each, one right after the other."""

    ours: Throughput
    theirs: Throughput

    @property
    def ratio(self) -> float:
        return self.ours.per_s / self.theirs.per_s

    @property
    def void(self) -> bool:
        return abs(self.ours.batch / self.theirs.batch - 1.0) > BATCH_TOLERANCE


@dataclass(frozen=True, slots=True)
class Rig:
    """The server under load, and what it is sent."""

    bench: Bench
    folder: Path
    beside: Servers
    tool: PerfAnalyzer
    clip: Path
    tensor: Path
    data: Path
    witnessed: list[Samples] = field(default_factory=list)

    def ours(self, concurrency: int) -> Load:
        return lambda: _client(self.beside.triton.grpc_url, concurrency, self.tensor)

    def theirs(self, concurrency: int) -> Load:
        return lambda: self.tool.loading(
            self.beside.triton.grpc_url, MODEL, self.data, concurrency, self.folder / "perf.log"
        )

    def files(self) -> Load:
        return self._watching

    @contextmanager
    def _watching(self) -> Iterator[int]:
        clip = {"url": str(self.clip), "pace": "fast", "loop": True, "fps": 50.0}
        cameras: dict[str, dict[str, object]] = {f"file-{n}": clip for n in range(FILES)}
        variables = {**PRODUCTION, "FACES_ENABLED": "false"}
        with running(self.folder, self.beside.settings, cameras, **variables) as fess:
            try:
                yield fess.process.pid
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

    async def pairs(self, ours: Load, theirs: Load, core: int | None = None) -> list[Pair]:
        """A-B-B-A: what drifts meanwhile weighs on both alike. core: the only one the loads may use."""
        found = []
        for number in range(self.bench.choose(6, 1)):
            order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
            measured = {load: await self._measure(load, core) for load in order}
            found.append(Pair(measured[ours], measured[theirs]))
        return found

    async def _measure(self, load: Load, core: int | None) -> Throughput:
        with load() as pid:
            if core is not None:
                pin(pid, core)
            return await throughput(
                self.beside.triton.http_url, MODEL, RAMP_S, float(self.bench.choose(4, 3))
            )


async def measure(bench: Bench) -> Outcome:
    tool = await asyncio.to_thread(PerfAnalyzer.find, bench)
    with folder_of_one_run() as folder:
        clip = await asyncio.to_thread(people_clip, bench)
        tensor = picture(clip, folder / "tensor.npy")
        data = write_input(folder / "input.json", INPUT, np.load(tensor))
        async with servers(folder) as beside:
            return await _compare(Rig(bench, folder, beside, tool, clip, tensor, data))


def picture(clip: Path, target: Path) -> Path:
    """A frame with a person as the network's input; both sides send the same bytes."""
    with av.open(str(clip)) as container:
        container.seek(10 * av.time_base)
        frame = next(container.decode(video=0))
        rgb = ArrayPicture(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    np.save(target, letterbox(rgb, SIZE).image)
    return target


async def _compare(rig: Rig) -> Outcome:
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    for concurrency in CONCURRENCIES:
        rig.bench.say(f"client against perf_analyzer, concurrency {concurrency}")
        pairs = await rig.pairs(rig.ours(concurrency), rig.theirs(concurrency))
        what = f"client / perf_analyzer, concurrency {concurrency}"
        figures.append(_ratio(what, pairs, 0.95))
        rows.append(_row(what, pairs))
    for what, pairs in (await _apart(rig)).items():
        figures.append(_ratio(what, pairs, 0.95 if what.startswith("client") else 0.90))
        rows.append(_row(what, pairs))
    return Outcome(
        "What Triton serves: our client and pipeline against perf_analyzer",
        tuple(figures),
        _notes(rig),
        (Breakdown("Inferences a second", HEADER, tuple(rows)),),
    )


async def _apart(rig: Rig) -> dict[str, list[Pair]]:
    """The pipeline on shared cores, and client and pipeline with Triton on a core of its own."""
    found: dict[str, list[Pair]] = {}
    theirs, files = rig.theirs(FILES), rig.files()
    rig.bench.say(f"pipeline over {FILES} files against perf_analyzer")
    found[f"pipeline / perf_analyzer, {FILES} files, shared cores"] = await rig.pairs(files, theirs)
    if (os.cpu_count() or 1) >= 2:
        rig.bench.say("client and pipeline again, Triton on a core of its own")
        pin(rig.beside.triton.pid, 0)
        what = f"client / perf_analyzer, concurrency {FILES}, Triton apart"
        found[what] = await rig.pairs(rig.ours(FILES), theirs, 1)
        what = f"pipeline / perf_analyzer, {FILES} files, Triton apart"
        found[what] = await rig.pairs(files, theirs, 1)
    return found


def _ratio(what: str, pairs: list[Pair], bar: float) -> Figure:
    """Of the pairs that count; of all where none does, which then is no verdict."""
    # Batches are the pipeline's own doing: its requests come when frames are ready.
    counting = [pair for pair in pairs if what.startswith("pipeline") or not pair.void]
    mean, low, high = geometric_mean([pair.ratio for pair in counting or pairs])
    voided = f", {len(pairs) - len(counting)} void" if len(counting) < len(pairs) else ""
    spread = f"{len(counting)} pairs{voided}"
    if len(counting) > 1:
        spread = f"{low:.3f} to {high:.3f} (95 %), {spread}"
    return at_least(what, mean, "", bar, spread) if counting else Figure(what, mean, "", spread)


HEADER = (
    "what",
    "ours, mean (range)",
    "perf_analyzer, mean (range)",
    "mean batch, ours / theirs",
    "failed, ours / theirs",
)


def _row(what: str, pairs: list[Pair]) -> tuple[str, ...]:
    ours, theirs = [pair.ours for pair in pairs], [pair.theirs for pair in pairs]
    return (
        what,
        _range(ours),
        _range(theirs),
        f"{_batch(ours):.2f} / {_batch(theirs):.2f}",
        f"{sum(each.failed for each in ours)} / {sum(each.failed for each in theirs)}",
    )


def _range(found: list[Throughput]) -> str:
    rates = [each.per_s for each in found]
    return f"{np.mean(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


def _batch(found: list[Throughput]) -> float:
    return float(np.mean([each.batch for each in found]))


def _notes(rig: Rig) -> tuple[str, ...]:
    return (
        "Embedded Triton, object_detector, gRPC, the same bytes from both (one frame with a person, uint8 320x320x3), "
        "one request a frame. Each pair measures both, one right after the other, in the order A-B, B-A; "
        "throughput and batch size are from Triton's own counters. A pair whose mean batch sizes differ "
        "by more than 10 % is void.",
        "Shared cores: load and Triton compete for the same two cores, so that a ratio compares the CPU time of the "
        "loads too. Triton apart: Triton on the first core and the load on the second, as where a GPU infers.",
        f"Pipeline: `fess run` over {FILES} files (640x360) as fast as they are taken, motion gate and faces off, "
        f"from decoding to the event's acknowledgement by Redis Streams. {rig.account()}",
    )


@contextmanager
def _client(url: str, concurrency: int, tensor: Path) -> Iterator[int]:
    command = [sys.executable, "-m", MODULE, url, MODEL, str(concurrency), str(tensor)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError("our load ended early; its message is above")
    finally:
        process.kill()
        process.wait()

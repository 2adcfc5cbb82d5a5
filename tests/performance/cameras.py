"""Ten 1080p cameras over RTSP at five inspected frames a second: is it in time, and what does it cost."""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from eventbus.events import MotionDetectionEvent
from orchestrator.buses import make_bus
from tests.e2e.running import Running, running
from tests.performance.bare import decoding
from tests.performance.bench import Bench, Servers, folder_of_one_run, seen, servers
from tests.performance.clips import FPS as STREAM_FPS
from tests.performance.exposition import Samples, mean_ms, samples, total
from tests.performance.outcome import Breakdown, Figure, Outcome, at_least, below
from tests.performance.scene import (
    FPS,
    PRODUCTION,
    addresses,
    rtsp_cameras,
    scene,
)
from tests.performance.statistic import interval_of_percentile, percentile
from tests.performance.usage import Account, Shares, child_running, family, resident_mib, threads_s
from tests.performance.witness import Witness

SETTLE_S = 5.0
LOST = ("busy", "stale", "error")
# The design's figures are ratios on a shared machine: 8 % of a core a camera, where decoding alone costs 6.
AGAINST_DECODING = 1.33
RUNS = 3
STAGES = ("motion", "detection", "tracking", "recognition", "events")


@dataclass(frozen=True, slots=True)
class Reading:
    """What `fess` says of itself at one moment."""

    cameras: dict[str, Any]
    metrics: Samples
    threads: dict[tuple[int, str], float]
    resident_mib: float
    triton_mib: float

    @classmethod
    async def of(cls, fess: Running, triton: int) -> "Reading":
        return cls(
            await asyncio.to_thread(fess.cameras),
            samples((await asyncio.to_thread(fess.get, "/metrics"))[1].decode()),
            threads_s(fess.process.pid),
            resident_mib(fess.process.pid),
            sum(resident_mib(process.pid) for process in family(triton)),
        )


@dataclass(frozen=True, slots=True)
class Watch:
    """One measurement: two readings, and everything between them."""

    before: Reading
    after: Reading
    shares: Shares
    witness: Witness

    def inspected(self) -> dict[str, int]:
        """Frames, by camera."""
        return {
            name: int(after["coverage"]["inspected"] - self._coverage(name)["inspected"])
            for name, after in self.after.cameras.items()
        }

    def lost(self) -> dict[str, int]:
        """Frames that should have been inspected and were not, by cause."""
        return {
            cause: sum(
                int(after["coverage"]["skipped"].get(cause, 0))
                - int(self._coverage(name)["skipped"].get(cause, 0))
                for name, after in self.after.cameras.items()
            )
            for cause in LOST
        }

    def ages_ms(self) -> list[float]:
        """Of the motion events: from the decoded frame to their receipt."""
        return [age_s * 1000 for age_s in self.witness.ages_s(motion=True)]

    def lags_ms(self) -> list[float]:
        """Of the motion events: how much later their frame was decoded than the stream's quickest."""
        return [lag_s * 1000 for lag_s in self.witness.lags_s(STREAM_FPS)]

    def _coverage(self, name: str) -> dict[str, Any]:
        coverage: dict[str, Any] = self.before.cameras[name]["coverage"]
        return coverage


async def measure(bench: Bench) -> Outcome:
    seconds = bench.seconds or bench.choose(60, 20)
    watches: list[Watch] = []
    mounts = await asyncio.to_thread(scene, bench, bench.cameras)
    with folder_of_one_run() as folder:
        async with servers(folder) as beside:
            with rtsp_cameras(mounts) as rtsp:
                cameras = addresses(rtsp, mounts)
                floors = [await _bare(bench, cameras, seconds / 2)]
                for number in range(bench.choose(RUNS, 1)):
                    own = folder / str(number)
                    own.mkdir()
                    watches.append(await watch_cameras(bench, beside, own, cameras, seconds))
                    floors.append(await _bare(bench, cameras, seconds / 2))
    return _outcome(watches, floors)


async def _bare(bench: Bench, cameras: dict[str, dict[str, object]], seconds: float) -> float:
    """What receiving and decoding the cameras costs by itself, in % of a core a camera."""
    bench.say(f"decoding the cameras and nothing else, for {seconds:g} s")
    with decoding([str(camera["url"]) for camera in cameras.values()]) as decoder:
        await asyncio.sleep(SETTLE_S)
        account = Account({"bare": decoder.pid})
        await asyncio.sleep(seconds)
        return account.close().by_role["bare"] / len(cameras) * 100


async def watch_cameras(
    bench: Bench,
    beside: Servers,
    folder: Path,
    cameras: dict[str, dict[str, object]],
    seconds: float,
    variables: dict[str, str] = PRODUCTION,
) -> Watch:
    """Start `fess run` on these cameras and measure it once all are up. Raises TimeoutError where they do not come."""
    bus = make_bus(beside.settings)
    witness = Witness(bus, "bench")
    try:
        with running(folder, beside.settings, cameras, **variables) as fess:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(witness.run())
                await seen(fess, *cameras)
                await asyncio.sleep(SETTLE_S)
                bench.say(f"{len(cameras)} cameras are up; measuring for {seconds:g} s")
                watch = await _observe(fess, beside, witness, seconds)
                reading.cancel()
            return watch
    finally:
        await bus.close()


async def _observe(fess: Running, beside: Servers, witness: Witness, seconds: float) -> Watch:
    before = await Reading.of(fess, beside.triton.pid)
    account = Account(
        {
            "orchestrator": fess.process.pid,
            "Triton": beside.triton.pid,
            "Redis": beside.redis.pid,
            "RTSP server (the cameras)": child_running("rtsp_server.py"),
            "consumer of the bus": os.getpid(),
        }
    )
    witness.recording = True
    await asyncio.sleep(seconds)
    witness.recording = False
    shares = account.close()
    return Watch(before, await Reading.of(fess, beside.triton.pid), shares, witness)


def _outcome(watches: list[Watch], floors: list[float]) -> Outcome:
    """floors: decoding alone, in % of a core a camera, before and after each watch."""
    count, last = len(watches[0].before.cameras), watches[-1]
    rates = sorted(
        number / watch.shares.wall_s for watch in watches for number in watch.inspected().values()
    )
    inspected = sum(sum(watch.inspected().values()) for watch in watches)
    lost = Counter[str]()
    for watch in watches:
        lost.update(watch.lost())
    whole = inspected + lost.total()
    costs = [watch.shares.by_role["orchestrator"] / count * 100 for watch in watches]
    times = [
        cost / ((before + after) / 2)
        for cost, (before, after) in zip(costs, pairwise(floors), strict=True)
    ]
    figures = (
        at_least(
            "inspected frames a second and camera, slowest camera",
            rates[0],
            "fps",
            FPS * 0.99,
            f"{rates[0]:.2f} to {rates[-1]:.2f} over {count} cameras",
        ),
        below(
            "dropped (busy, stale, error)",
            lost.total() / whole * 100,
            "%",
            1.0,
            f"{lost.total()} of {whole}: {', '.join(f'{cause} {n}' for cause, n in lost.items())}",
        ),
        *_latencies([age_ms for watch in watches for age_ms in watch.ages_ms()]),
        _lag([lag_ms for watch in watches for lag_ms in watch.lags_ms()]),
        below(
            "orchestrator CPU a camera",
            mean(costs),
            "% of a core",
            8.0,
            f"{_range(costs)} in {len(watches)} runs of {last.shares.wall_s:.0f} s",
        ),
        below(
            "orchestrator CPU, against decoding the same cameras and nothing else",
            mean(times),
            "times",
            AGAINST_DECODING,
            f"{_range(times)} in {len(watches)} runs; decoding alone {_range(floors)} % of a core a camera",
        ),
        below(
            "orchestrator memory at the end",
            last.after.resident_mib,
            "MiB",
            572.0,
            f"{last.before.resident_mib:.0f} MiB when all cameras were up, {last.shares.wall_s:.0f} s before",
        ),
    )
    return Outcome(
        f"{count} cameras, 1080p25 H.264 over RTSP, {FPS:g} inspected frames/s each",
        figures,
        (
            *_notes(last),
            f"Latencies and counts: of {len(watches)} runs; the tables and notes: of the last.",
        ),
        (_roles(last), _threads(last, count), _stages(last)),
    )


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _lag(lags_ms: list[float]) -> Figure:
    low, high = interval_of_percentile(lags_ms, 0.99)
    return Figure(
        "decoded later than the stream's quickest, p99",
        percentile(lags_ms, 0.99),
        "ms",
        f"{low:.0f} to {high:.0f} (95 %), p50 {percentile(lags_ms, 0.5):.0f}",
    )


def _latencies(ages_ms: list[float]) -> list[Figure]:
    found = []
    for share, bar in ((0.50, 0.0), (0.95, 200.0), (0.99, 500.0)):
        low, high = interval_of_percentile(ages_ms, share)
        spread = f"{low:.0f} to {high:.0f} (95 %), {len(ages_ms)} events"
        what, value = (
            f"capture to event at the consumer, p{share * 100:.0f}",
            percentile(ages_ms, share),
        )
        found.append(
            below(what, value, "ms", bar, spread) if bar else Figure(what, value, "ms", spread)
        )
    return found


def _roles(watch: Watch) -> Breakdown:
    shares = watch.shares
    rows = [
        *shares.by_role.items(),
        ("everything else on the machine", shares.bystanders),
        ("idle", shares.idle),
    ]
    return Breakdown(
        "Where the cores went",
        ("who", "cores"),
        tuple((who, f"{cores:.3f}") for who, cores in rows),
    )


def _threads(watch: Watch, count: int) -> Breakdown:
    """The event loop is the first thread; Python's other threads decode, the rest are gRPC's."""
    spent: dict[str, float] = {}
    first = min(thread for thread, _ in watch.after.threads)
    own = next(name for thread, name in watch.after.threads if thread == first)
    for (thread, name), seconds in watch.after.threads.items():
        what = "event loop" if thread == first else "decode threads" if name == own else name
        spent[what] = spent.get(what, 0.0) + seconds - watch.before.threads.get((thread, name), 0.0)
    rows = sorted(spent.items(), key=lambda pair: -pair[1])
    return Breakdown(
        "The orchestrator's threads, in % of a core a camera",
        ("thread", "% of a core a camera"),
        tuple((what, f"{s / watch.shares.wall_s / count * 100:.2f}") for what, s in rows),
    )


def _stages(watch: Watch) -> Breakdown:
    rows = []
    for stage in STAGES:
        mean, count = mean_ms(
            watch.before.metrics, watch.after.metrics, "fess_stage_seconds", stage=stage
        )
        rows.append((stage, f"{mean:.2f}", f"{count:.0f}"))
    for model in ("object_detector", "face_detector", "face_embedder"):
        mean, count = mean_ms(
            watch.before.metrics, watch.after.metrics, "fess_inference_seconds", model=model
        )
        rows.append((f"Triton: {model}", f"{mean:.2f}", f"{count:.0f}"))
    return Breakdown(
        "Time in a stage (waiting included)", ("stage", "mean, ms", "times"), tuple(rows)
    )


def _notes(watch: Watch) -> tuple[str, ...]:
    motion = sum(isinstance(seen.event, MotionDetectionEvent) for seen in watch.witness.sightings)
    before, after = watch.before.metrics, watch.after.metrics
    mean, acknowledged = mean_ms(before, after, "fess_event_latency_seconds")
    name = "fess_event_latency_seconds_bucket"
    in_time = total(after, name, le="0.25") - total(before, name, le="0.25")
    losses = total(after, "fess_camera_losses_total") - total(before, "fess_camera_losses_total")
    return (
        "Production settings, MOTION_ENABLED=false so that every sampled frame is inspected, faces on, gallery empty; "
        "embedded Triton and Redis, events on Redis Streams; real GStreamer RTSP server over TCP, 4 Mbit/s a camera. "
        f"Two of three cameras show people, one a road; all on the same {os.cpu_count()} cores.",
        "Capture to event: from the decoded frame (the event's timestamp) to its receipt by a consumer of the bus, "
        f"another process; {motion} motion events and {len(watch.witness.sightings) - motion} others. The program's "
        f"own account, to the acknowledgement: {acknowledged:.0f} events, mean {mean:.0f} ms, "
        f"{in_time / acknowledged * 100 if acknowledged else 0:.1f} % within 250 ms.",
        "Decoding alone: a process that receives the same cameras over RTSP and decodes them, a thread each, and does "
        "nothing with the pictures; before and after each run, half as long, Triton idle.",
        "Later than the quickest: frames that waited in the network's buffers before they were decoded, by their "
        "stream's own pace, against its quickest of the run; the cameras' RTSP server shares the cores, and its own "
        "delay is part of it.",
        f"Cameras lost while measuring: {losses:.0f}. Memory bar: 600 MB are 572 MiB.",
    )

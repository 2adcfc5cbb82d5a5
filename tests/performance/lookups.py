"""The small things that happen often: a look-up, handing an event over, its acknowledgement, a match."""

import asyncio
import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.face import FaceQuality
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture
from orchestrator.ports import ModelVersion
from orchestrator.recognition.connection import connect
from orchestrator.recognition.face_cache import FaceCache
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.subject import Subject
from orchestrator.settings import CacheSettings
from tests.performance.bench import Bench, folder_of_one_run, settings_of
from tests.performance.machine import ROOT
from tests.performance.outcome import Figure, Lacking, Outcome, at_least, below
from tests.performance.statistic import interval_of_percentile, percentile
from tests.servers.kafka import fetch

MODEL = ModelVersion("face_embedder", "1", "0" * 64)
DIMENSION = 512
STEADY_PER_S, BAR_PER_S = 500, 10_000
# Each starts a server of its own: two processes and a server on two cores differ by a factor from run to run.
FLOODS = 3
MEASURE = "tests.eventbus.measure"
QUALITY = FaceQuality(60.0, 100.0, 0.0, 0.0, 0.9, 0.8)


async def measure(bench: Bench) -> Outcome:
    figures = [*await _cache(bench), *await asyncio.to_thread(_matching, bench)]
    notes = [
        "Face cache: one look-up after the other in a real Redis that holds as many faces as are named, "
        "512-d, decoded and checked. Matching: exact, in process, one probe after the other.",
        f"Event bus: a process hands motion events to the outbox, another reads them; at {STEADY_PER_S} a second (what "
        f"a hundred cameras report) for the latencies, and at {BAR_PER_S} a second for what is sustained. "
        "Acknowledged: from the hand-over to the bus's acknowledgement. End to end: to the decoded event in the "
        "reader. Both processes and the server share the cores, and are warm before the clock runs. "
        f"{BAR_PER_S} a second: {FLOODS} runs, each with a server of its own; the figures are those of the run "
        "with the median p99, losses and repeats those of all.",
    ]
    for bus in ("redis", "kafka"):
        try:
            figures += await _bus(bench, bus)
        except Lacking as lack:
            notes.append(f"Not measured: {lack}.")
    return Outcome("Look-ups, hand-over and matching", tuple(figures), tuple(notes))


async def _cache(bench: Bench) -> list[Figure]:
    faces, lookups = bench.choose(10_000, 1_000), bench.choose(20_000, 2_000)
    bench.say(f"face cache: {lookups} look-ups among {faces} faces")
    with folder_of_one_run() as folder:
        async with EmbeddedRedis(folder) as server:
            redis = connect(settings_of(folder, server).redis)
            cache = FaceCache(
                redis,
                MODEL,
                DIMENSION,
                settings=CacheSettings(),
                metrics=Metrics(CollectorRegistry()),
                queue_size=faces,
            )
            try:
                await _fill(cache, faces)
                taken_ms = await _look_up(cache, faces, lookups)
            finally:
                await redis.aclose()
    return _percentiles(f"face cache look-up among {faces:,}", taken_ms, "ms", {0.99: 5.0})


async def _fill(cache: FaceCache, faces: int) -> None:
    picture = ArrayPicture(np.zeros((8, 8, 3), np.uint8))
    frame = Frame("bench", 1, picture, 0.0, datetime.now(UTC), time.monotonic())
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(cache.run())
        for number, embedding in enumerate(_unit_vectors(faces)):
            identity = Identity(
                face_id=f"face-{number}",
                person_name=f"Person {number}",
                confidence=0.9,
                is_authorized=True,
                candidates=(),
                faces=2,
                threshold=0.5,
                margin=0.05,
                agreement=2,
                gallery_version="bench",
            )
            cache.put_face(identity, embedding, QUALITY, frame, number)
        await cache.drained()
        writing.cancel()


async def _look_up(cache: FaceCache, faces: int, lookups: int) -> list[float]:
    picks = np.random.default_rng(1).integers(0, faces, lookups)
    taken_ms = []
    for pick in picks:
        began_s = time.perf_counter()
        found = await cache.get_face(f"face-{pick}")
        taken_ms.append((time.perf_counter() - began_s) * 1000)
        if found is None:
            raise RuntimeError(f"face-{pick} is not in the cache, so this measures nothing")
    return taken_ms


def _matching(bench: Bench) -> list[Figure]:
    figures = []
    for faces in (10_000, 100_000):
        bench.say(f"gallery of {faces:,}")
        vectors = _unit_vectors(faces)
        gallery = Gallery(
            MODEL,
            DIMENSION,
            [
                Subject(f"face-{n}", f"Person {n}", True, vector[None], MODEL.sha256)
                for n, vector in enumerate(vectors)
            ],
        )
        probes = _unit_vectors(bench.choose(1_000, 100), seed=2)
        taken_ms = []
        for probe in probes:
            began_s = time.perf_counter()
            gallery.match(probe)
            taken_ms.append((time.perf_counter() - began_s) * 1000)
        figures += _percentiles(f"gallery match among {faces:,} x {DIMENSION}", taken_ms, "ms", {})
    return figures


async def _bus(bench: Bench, bus: str) -> list[Figure]:
    """Raises Lacking."""
    if bus == "kafka":
        reason = await asyncio.to_thread(fetch)
        if reason:
            raise Lacking(f"Kafka: {reason}")
    bench.say(f"event bus on {bus}: {STEADY_PER_S} a second")
    steady = await _measured(bus, bench.choose(30_000, 3_000), STEADY_PER_S)
    events, floods = bench.choose(300_000, 30_000), []
    for turn in range(bench.choose(FLOODS, 1)):
        bench.say(f"event bus on {bus}: {BAR_PER_S} a second, run {turn + 1}")
        floods.append(await _measured(bus, events, BAR_PER_S))
    flood = _median_run(floods)
    lost = sum(sum(each["lost"].values()) for each in floods)
    lost += sum(each["missing"] for each in floods)
    handed, acked = steady["hand_over"], steady["acknowledged"]
    end, rate = flood["end_to_end"], f"{BAR_PER_S:,} a second"
    repeats = sum(each["repeats"] for each in floods)
    runs = ", ".join(f"{p99:g}" for p99 in sorted(map(_end_p99_ms, floods)))
    return [
        below(f"{bus}: hand-over, p99", handed["p99_ms"], "ms", 1.0, _spread(handed)),
        below(f"{bus}: acknowledged, p99", acked["p99_ms"], "ms", 10.0, _spread(acked)),
        at_least(
            f"{bus}: sustained of {rate} offered",
            flood["events_per_s"],
            "events/s",
            BAR_PER_S * 0.99,
            f"{events:,} events, publisher {flood['publisher_cpu_percent']} % of a core",
        ),
        below(
            f"{bus}: end to end at {rate}, p99",
            end["p99_ms"],
            "ms",
            10.0,
            f"{_spread(end)}; p99 of all runs: {runs}",
        ),
        replace(
            below(
                f"{bus}: lost, of {len(floods)} x {events:,}", lost, "", 1.0, f"repeats {repeats}"
            ),
            bar="none",
        ),
    ]


def _median_run(floods: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(floods, key=_end_p99_ms)[len(floods) // 2]


def _end_p99_ms(flood: dict[str, Any]) -> float:
    p99_ms: float = flood["end_to_end"]["p99_ms"]
    return p99_ms


async def _measured(bus: str, events: int, per_s: int) -> dict[str, Any]:  # JSON of another program
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MEASURE, bus, str(events), str(per_s)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise Lacking(f"{bus}: {MEASURE} failed; its message is above")
    found: dict[str, Any] = json.loads(output.decode().splitlines()[-1])
    return found


def _spread(found: dict[str, float]) -> str:
    return f"p50 {found['p50_ms']:g}, p95 {found['p95_ms']:g}, worst {found['max_ms']:g} ms"


def _percentiles(
    what: str, values: list[float], unit: str, bars: dict[float, float]
) -> list[Figure]:
    figures = []
    for share in (0.50, 0.99):
        low, high = interval_of_percentile(values, share)
        spread = f"{low:.3g} to {high:.3g} (95 %), {len(values):,} times, worst {max(values):.3g}"
        name, value = f"{what}, p{share * 100:.0f}", percentile(values, share)
        bar = bars.get(share)
        figures.append(
            Figure(name, value, unit, spread)
            if bar is None
            else below(name, value, unit, bar, spread)
        )
    return figures


def _unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found

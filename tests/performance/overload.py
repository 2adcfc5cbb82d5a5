"""Triton is asked more than it can do: how much of its work reaches somebody, from one process and from several."""

import asyncio
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from export import versions
from orchestrator.embedded.triton import EmbeddedTriton
from tests.performance.bench import Bench, folder_of_one_run, serving
from tests.performance.load import answers_per_s
from tests.performance.outcome import Breakdown, Figure, Outcome, below
from tests.performance.rig import FRAMES, clients
from tests.performance.scene import people_clip
from tests.performance.tensors import recorded
from tests.performance.throughput import throughput
from tests.performance.traffic import Traffic

MODEL = "object_detector"
WITHIN_S = 0.5
TIMES = (2, 4)
PROCESSES = (1, 4)
CLOSED = 16
RAMP_S = 3.0
BAR = 10.0
QUEUE_POLICY = """\
dynamic_batching {
  default_queue_policy {
    max_queue_size: 128
    default_timeout_microseconds: 500000
    timeout_action: REJECT
    allow_timeout_override: true
  }
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How much is asked, and how. policy: of a Triton that refuses by itself what has waited too long."""

    times: int
    processes: int
    policy: bool

    @property
    def words(self) -> str:
        processes = "1 process" if self.processes == 1 else f"{self.processes} processes"
        return f"{self.times} times what it can, {processes}"


@dataclass(frozen=True, slots=True)
class Pressed:
    """answered: in time, in % of what Triton answers in a closed loop. in_vain: % of what it worked on."""

    answered: float
    in_vain: float


async def measure(bench: Bench) -> Outcome:
    seconds, repeats = bench.choose(10, 4), bench.choose(3, 1)
    clip = await asyncio.to_thread(people_clip, bench)
    found: dict[Way, list[Pressed]] = {}
    most = []
    with folder_of_one_run() as folder:
        frames = folder / "frames.npz"
        async with (
            serving(_shipped, folder / "shipped", MODEL) as shipped,
            serving(_with_policy, folder / "policy", MODEL) as strict,
        ):
            await recorded(shipped.grpc_url, MODEL, clip, FRAMES, frames)
            for number in range(repeats):
                most.append(await _closed(frames, shipped, seconds))
                bench.say(f"{number + 1} of {repeats}: a closed loop gets {most[-1]:.0f} a second")
                for way in _ways():
                    triton = strict if way.policy else shipped
                    pressed = await _pressed(frames, triton, way, most[-1], seconds)
                    found.setdefault(way, []).append(pressed)
                    bench.say(
                        f"{way.words}{', queue policy' * way.policy}: {pressed.answered:.0f} % in time"
                    )
    return _outcome(found, most, seconds)


def _ways() -> list[Way]:
    return [
        Way(times, count, policy)
        for times in TIMES
        for count in PROCESSES
        for policy in (False, True)
    ]


def _shipped(repository: Path, like: Path) -> Path:
    shutil.copytree(like, repository / like.name)
    return repository


def _with_policy(repository: Path, like: Path) -> Path:
    config = _shipped(repository, like) / like.name / versions.CONFIG
    text = config.read_text(encoding="utf-8")
    assert "default_queue_policy" not in text
    config.write_text(text.replace("dynamic_batching {\n", QUEUE_POLICY), encoding="utf-8")
    return repository


async def _closed(frames: Path, triton: EmbeddedTriton, seconds: int) -> float:
    patient = Traffic(concurrency=CLOSED)
    with clients(frames.parent, triton.grpc_url, MODEL, frames, patient):
        return (await throughput(triton.http_url, MODEL, RAMP_S, seconds)).per_s


async def _pressed(
    frames: Path, triton: EmbeddedTriton, way: Way, most: float, seconds: int
) -> Pressed:
    traffic = Traffic(rate=round(way.times * most), processes=way.processes, within_s=WITHIN_S)
    begun_s = float("inf")

    def begin() -> None:
        nonlocal begun_s
        begun_s = time.monotonic()

    with clients(frames.parent, triton.grpc_url, MODEL, frames, traffic):
        worked = await throughput(triton.http_url, MODEL, RAMP_S, seconds, begin)
        logs = [frames.parent / f"ours-{number}.log" for number in range(way.processes)]
        answered = sum(answers_per_s(log, begun_s) for log in logs)
    return Pressed(100 * answered / most, 100 * (1 - answered / worked.per_s))


def _outcome(found: dict[Way, list[Pressed]], most: list[float], seconds: int) -> Outcome:
    figures = [
        Figure(
            "a closed loop gets",
            statistics.mean(most),
            "answers a second",
            f"{min(most):.0f} to {max(most):.0f}, {len(most)} times {seconds} s",
        )
    ]
    for way in _ways():
        if not way.policy:
            shares = [pressed.in_vain for pressed in found[way]]
            spread = f"{min(shares):.1f} to {max(shares):.1f}, {len(shares)} times {seconds} s"
            what = f"worked on in vain, asked {way.words}"
            figures.append(below(what, statistics.mean(shares), "%", BAR, spread))
    rows = tuple(
        (
            way.words,
            "yes" if way.policy else "no",
            _range([pressed.answered for pressed in found[way]]),
            _range([pressed.in_vain for pressed in found[way]]),
        )
        for way in _ways()
    )
    return Outcome(
        "More than Triton can do",
        tuple(figures),
        (
            f"Embedded Triton, {MODEL}, {FRAMES} frames of a clip with people over gRPC, in an open loop with even "
            f"arrivals; each request has {WITHIN_S:g} s. Our client as it is shipped, in as many processes, which know "
            f"nothing of each other. Against a closed loop of {CLOSED} of one patient process, before each round. "
            "Clients and Triton share the cores, so that what is given up costs some of what could be answered. Both "
            "count over windows of their own, which differ by up to a second: so do the shares, by a few %.",
            "A queue policy has Triton refuse what has waited for half a second, or for as long as its request said.",
        ),
        (
            Breakdown(
                "With and without a queue policy, mean and range",
                (
                    "asked",
                    "queue policy",
                    "answered in time, % of a closed loop",
                    "worked on in vain, %",
                ),
                rows,
            ),
        ),
    )


def _range(values: list[float]) -> str:
    return f"{statistics.mean(values):.0f} ({min(values):.0f} to {max(values):.0f})"

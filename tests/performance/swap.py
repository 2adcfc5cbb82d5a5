"""The object detector is swapped while cameras run: which frames that costs, and how long a camera is not looked at."""

import asyncio
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from export import versions
from orchestrator.embedded.triton import EmbeddedTriton
from tests.e2e.running import Running, running
from tests.performance.bench import MODELS, Bench, folder_of_one_run, seen, servers, until
from tests.performance.exposition import samples, total
from tests.performance.outcome import Breakdown, Figure, Outcome
from tests.performance.scene import FPS, PRODUCTION, addresses, rtsp_cameras, scene
from tests.performance.statistic import percentile
from tests.servers.vouching import note_for

SLOT = "object_detector"
CAUSES = ("busy", "stale", "error")
SETTLE_S = 5.0
# Noticing (at most 2 s), loading and warming up take up to ten seconds beside ten cameras.
WINDOW_S = 15.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class State:
    """What `fess` says: frames by camera and cause since its start, and requests that failed by cause."""

    inspected: dict[str, int]
    skipped: dict[str, int]
    failed: dict[str, int]

    @classmethod
    def of(cls, fess: Running) -> "State":
        coverage = {name: each["coverage"] for name, each in fess.cameras().items()}
        metrics = samples(fess.get("/metrics")[1].decode())
        return cls(
            {name: int(each["inspected"]) for name, each in coverage.items()},
            {
                cause: sum(int(each["skipped"].get(cause, 0)) for each in coverage.values())
                for cause in CAUSES
            },
            {
                cause: int(total(metrics, "fess_inference_failures_total", cause=cause))
                for cause in ("stale", "unavailable", "invalid", "outdated")
            },
        )


@dataclass(frozen=True, slots=True)
class Window:
    """So many seconds of all cameras. gaps_s: longest time between two frames inspected, by camera."""

    before: State
    after: State
    gaps_s: dict[str, float]

    def skipped(self, cause: str) -> int:
        return self.after.skipped[cause] - self.before.skipped[cause]

    def failed(self, *causes: str) -> int:
        return sum(self.after.failed[cause] - self.before.failed[cause] for cause in causes)

    @property
    def inspected(self) -> int:
        return sum(self.after.inspected.values()) - sum(self.before.inspected.values())

    @property
    def lost(self) -> int:
        return sum(map(self.skipped, CAUSES))

    @property
    def due(self) -> int:
        return self.inspected + self.lost

    @property
    def gap_s(self) -> float:
        return max(self.gaps_s.values())

    def row(self, what: str) -> tuple[str, ...]:
        skipped = (f"{self.skipped(cause)}" for cause in CAUSES)
        return (what, f"{self.inspected}", *skipped, f"{self.gap_s:.2f}")


async def measure(bench: Bench) -> Outcome:
    times = bench.choose(10, 2)
    mounts = await asyncio.to_thread(scene, bench, bench.cameras)
    quiet: list[Window] = []
    swaps: list[Window] = []
    took_s: list[float] = []
    with folder_of_one_run() as folder:
        slot = await asyncio.to_thread(_two_versions, folder / "models") / SLOT
        async with servers(folder, slot.parent) as beside:
            with rtsp_cameras(mounts) as rtsp:
                cameras = addresses(rtsp, mounts)
                with running(folder, beside.settings, cameras, **PRODUCTION) as fess:
                    await seen(fess, *cameras)
                    await asyncio.sleep(SETTLE_S)
                    for number in range(times):
                        quiet.append(await asyncio.to_thread(_watch, fess))
                        watching = asyncio.to_thread(_watch, fess)
                        async with asyncio.TaskGroup() as tasks:
                            window = tasks.create_task(watching)
                            took_s.append(await _swap(slot, beside.triton))
                        swaps.append(window.result())
                        bench.say(
                            f"{number + 1} of {times}: served after {took_s[-1]:.1f} s, "
                            f"{swaps[-1].lost} frames lost, {quiet[-1].lost} in as long a time before"
                        )
    return outcome_of(quiet, swaps, took_s)


def _two_versions(repository: Path) -> Path:
    """The models that are served, and the detector a second time: what a swap costs depends on no other weights."""
    shutil.copytree(MODELS, repository)
    slot = repository / SLOT
    now = versions.served(slot)
    assert now is not None
    for other in set(versions.present(slot)) - {now}:
        shutil.rmtree(slot / str(other))
    content = (slot / str(now) / "model.onnx").read_bytes()
    labels = (slot / "labels.txt").read_bytes()
    config = (slot / versions.CONFIG).read_text(encoding="utf-8")
    files = {"model.onnx": content, "labels.txt": labels, "provenance.json": note_for(content)}
    number = versions.land(slot, files)
    versions.serve(slot, number, config)
    return repository


async def _swap(slot: Path, triton: EmbeddedTriton) -> float:
    """Have the other version served; seconds until it answers and the old one does not."""
    now = versions.served(slot)
    (other,) = (number for number in versions.present(slot) if number != now)
    begun_s = time.monotonic()
    versions.roll_back(slot, to=other)
    await until(
        lambda: _ready(triton, other) and not _ready(triton, now),
        WINDOW_S,
        "the swap",
        LOOK_EVERY_S,
    )
    return time.monotonic() - begun_s


def _ready(triton: EmbeddedTriton, version: int | None) -> bool:
    url = f"http://{triton.http_url}/v2/models/{SLOT}/versions/{version}/ready"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def _watch(fess: Running) -> Window:
    """Ask again and again how far each camera is."""
    before = State.of(fess)
    seen, since_s = dict(before.inspected), dict.fromkeys(before.inspected, time.monotonic())
    gaps_s = dict.fromkeys(before.inspected, 0.0)
    ends_s = time.monotonic() + WINDOW_S
    while time.monotonic() < ends_s:
        time.sleep(LOOK_EVERY_S)
        now_s = time.monotonic()
        for name, camera in fess.cameras().items():
            inspected = int(camera["coverage"]["inspected"])
            gaps_s[name] = max(gaps_s[name], now_s - since_s[name])
            if inspected > seen[name]:
                seen[name], since_s[name] = inspected, now_s
    return Window(before, State.of(fess), gaps_s)


def outcome_of(quiet: list[Window], swaps: list[Window], took_s: list[float]) -> Outcome:
    lost, usually_lost = ([window.lost for window in windows] for windows in (swaps, quiet))
    refused, usual = (
        sum(window.failed("unavailable", "invalid") for window in windows)
        for windows in (swaps, quiet)
    )
    gaps_s = [gap_s for window in swaps for gap_s in window.gaps_s.values()]
    usual_s = [gap_s for window in quiet for gap_s in window.gaps_s.values()]
    times = len(swaps)
    figures = (
        Figure(
            "frames lost (busy, stale, error) around a swap, mean",
            sum(lost) / times,
            "",
            f"{min(lost)} to {max(lost)} of {sum(window.due for window in swaps) / times:.0f} due, {times} swaps; "
            f"without one {min(usually_lost)} to {max(usually_lost)}, mean {sum(usually_lost) / times:.1f}",
        ),
        Figure(
            "requests refused, or held back, around a swap",
            refused,
            "",
            f"{sum(window.failed('outdated') for window in swaps)} more met the old version gone and were asked again; "
            f"without a swap {usual}" + ", so no verdict" * bool(usual),
            "none",
            None if usual else refused == 0,
        ),
        Figure(
            "longest time between two inspected frames of a camera",
            max(gaps_s),
            "s",
            f"median over cameras and swaps {percentile(gaps_s, 0.5):.2f} s; "
            f"without a swap {max(usual_s):.2f} and {percentile(usual_s, 0.5):.2f} s",
        ),
        Figure(
            "from the command to the new version alone",
            percentile(took_s, 0.5),
            "s",
            f"median, {min(took_s):.1f} to {max(took_s):.1f}",
        ),
    )
    rows = [
        row
        for number, (before, swap) in enumerate(zip(quiet, swaps, strict=True), 1)
        for row in (before.row(f"before swap {number}"), swap.row(f"swap {number}"))
    ]
    return Outcome(
        f"A detector swapped under {len(swaps[0].gaps_s)} cameras of {FPS:g} frames a second",
        figures,
        (
            "Production settings, every sampled frame inspected. Lost: busy, as the camera's frame before was still at "
            "work; stale after half a second; or in error: its request was refused, or held back because none had "
            "been answered in time for two seconds.",
            "Two versions of the same weights, so that what is measured is the swap; named in turns, as `fess models "
            "rollback` does, "
            f"found by the embedded Triton's poll. Windows of {WINDOW_S:g} s, with a swap and without in turns. "
            f"Cameras are asked over HTTP every {LOOK_EVERY_S * 1000:.0f} ms, so a time between two frames is known to "
            "that much.",
        ),
        (
            Breakdown(
                "Window by window", ("what", "inspected", *CAUSES, "longest gap, s"), tuple(rows)
            ),
        ),
    )

"""One short watch of so many cameras, boiled down to what decides whether they are too many."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.performance.bench import Bench, Servers
from tests.performance.cameras import Watch, watch_cameras
from tests.performance.exposition import total
from tests.performance.scene import FPS, PRODUCTION
from tests.performance.statistic import percentile

LATEST_MS = 500.0
MOST_DROPPED = 0.01
# Of its rate. In half a minute the edges of the measurement alone are a frame or two of 160.
SLOWEST = 0.97
# Less idle than this, over all cores, and there was nothing left to give.
SPENT = 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """In ms: from the decoded frame to the consumer, and (lag) until it was decoded. CPU in cores.

    lacking why nothing was measured
    cores   by part; `event_loop` is part of the orchestrator's
    persons, face_searches, embeddings  over all inspected frames
    """

    cameras: int
    p50_ms: float = float("nan")
    p99_ms: float = float("nan")
    lag_p99_ms: float = float("nan")
    events: int = 0
    inspected: int = 0
    slowest_fps: float = 0.0
    dropped: float = 1.0
    wall_s: float = 0.0
    cores: dict[str, float] = field(default_factory=dict)
    event_loop: float = 0.0
    bystanders: float = 0.0
    idle: float = 0.0
    resident_mib: float = float("nan")
    triton_mib: float = float("nan")
    persons: float = 0.0
    face_searches: float = 0.0
    embeddings: float = 0.0
    lacking: str = ""

    @property
    def in_time(self) -> bool:
        return not self.lacking and self.p99_ms < LATEST_MS and self.dropped < MOST_DROPPED

    @property
    def holds(self) -> bool:
        """In time, and every camera at its rate."""
        return self.in_time and self.slowest_fps >= FPS * SLOWEST

    def limit(self) -> str:
        """What ran out, as far as CPU accounts tell."""
        if self.lacking:
            return self.lacking
        words = limit_of(self.cores, self.bystanders, self.idle)
        if self.event_loop > 0.9:
            return f"the orchestrator's event loop ({self.event_loop:.2f} of one core); {words}"
        return words


def limit_of(cores: dict[str, float], bystanders: float, idle: float) -> str:
    """What ran out, as far as these accounts tell: who used most, in cores."""
    by_use = sorted((cores | {"others on the machine": bystanders}).items(), key=lambda p: -p[1])
    most = ", ".join(f"{who} {used:.2f}" for who, used in by_use[:3])
    if idle < SPENT:
        return f"the cores ({idle:.2f} idle): {most}"
    return f"nothing ran out ({idle:.2f} cores idle): {most}"


async def attempt(
    bench: Bench,
    beside: Servers,
    folder: Path,
    cameras: dict[str, dict[str, object]],
    seconds: float,
    variables: dict[str, str] = PRODUCTION,
) -> Trial:
    """Watch these cameras for so long; too many to come up at all is an answer too."""
    lacking = ""
    # A folder of its own: what the one before left in its outbox is not to be measured here.
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            watch = await watch_cameras(bench, beside, Path(own), cameras, seconds, variables)
        except* TimeoutError as late:
            lacking = "; ".join(map(str, late.exceptions))
    return Trial(len(cameras), lacking=lacking) if lacking else trial_of(watch)


def trial_of(watch: Watch) -> Trial:
    ages_ms, inspected, lost = watch.ages_ms(), watch.inspected(), watch.lost()
    seconds = watch.shares.wall_s
    whole = sum(inspected.values()) + sum(lost.values())
    first = min(thread for thread, _ in watch.after.threads)
    return Trial(
        cameras=len(inspected),
        p50_ms=percentile(ages_ms, 0.50),
        p99_ms=percentile(ages_ms, 0.99),
        lag_p99_ms=percentile(watch.lags_ms(), 0.99),
        events=len(ages_ms),
        inspected=sum(inspected.values()),
        slowest_fps=min(inspected.values()) / seconds,
        dropped=sum(lost.values()) / whole if whole else 1.0,
        wall_s=seconds,
        cores=watch.shares.by_role,
        event_loop=(_spent_s(watch.after.threads, first) - _spent_s(watch.before.threads, first))
        / seconds,
        bystanders=watch.shares.bystanders,
        idle=watch.shares.idle,
        resident_mib=watch.after.resident_mib,
        triton_mib=watch.after.triton_mib,
        persons=_counted(watch, "fess_detections_total", object_class="person"),
        face_searches=_counted(watch, "fess_inference_seconds_count", model="face_detector"),
        embeddings=_counted(watch, "fess_inference_seconds_count", model="face_embedder"),
    )


def _counted(watch: Watch, name: str, **labels: str) -> float:
    return total(watch.after.metrics, name, **labels) - total(watch.before.metrics, name, **labels)


def _spent_s(threads: dict[tuple[int, str], float], wanted: int) -> float:
    return sum(seconds for (thread, _), seconds in threads.items() if thread == wanted)

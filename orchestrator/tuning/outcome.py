"""What a sweep found: the best configuration, everything tried, a table and a chart, kept in a folder."""

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from export import atomic, versions
from orchestrator.errors import SettingsError
from orchestrator.tuning.chart import Point, Scatter, Series
from orchestrator.tuning.config_text import ConfigText
from orchestrator.tuning.stand import Slot, read_config
from orchestrator.tuning.trial import Effort, LoadPoint, Standing, Trial, clearly_better

COLUMNS = (
    *("", "instances", "batch", "delay us", "threads"),
    *("a second", "range", "p99 ms", "mean ms", "trials"),
)
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """standings: everything tried, best first. best and now are of the final, and None before it."""

    limit_ms: float
    standings: tuple[Standing, ...]
    best: Standing | None = None
    now: Standing | None = None

    @property
    def improved(self) -> bool:
        """Whether something is better than what is configured, beyond chance."""
        return (
            self.best is not None
            and self.now is not None
            and clearly_better(self.best, self.now, self.limit_ms)
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Of the table, best first; what is configured now is always among them."""
        # The verdict is on the final alone, for what led there was chosen by its luck; the table says the same.
        final = {each.candidate: each for each in (self.best, self.now) if each is not None}
        shown = [final.get(each.candidate, each) for each in self.standings[:SHOWN]]
        if self.now is not None and all(s.candidate != self.now.candidate for s in shown):
            shown.append(self.now)
        return [self._row(standing) for standing in shown]

    def chart(self, title: str) -> Scatter:
        """Latency against throughput of every point; the front is what nothing beats in both."""
        trials = [trial for standing in self.standings for trial in standing.trials]
        points = [point for trial in trials for point in trial.points if _whole(point)]
        front = pareto(points)
        series = [
            Series("tried", _points(points)),
            Series("Pareto front (number: concurrency)", _points(front, named=True), joined=True),
        ]
        for name, standing in (("configured now", self.now), ("best", self.best)):
            if standing is not None:
                series.append(Series(name, _points(_averaged(standing)), joined=True))
        limit = (self.limit_ms, f"limit {self.limit_ms:g} ms")
        return Scatter(title, "inferences a second", "p99, ms", tuple(series), limit)

    def document(self) -> dict[str, object]:
        """For programs."""
        return {
            "limit_ms": self.limit_ms,
            "improved": self.improved,
            "best": None if self.best is None else asdict(self.best.candidate),
            "now": None if self.now is None else asdict(self.now.candidate),
            "standings": [
                {
                    "candidate": asdict(standing.candidate),
                    "per_s": _finite(standing.score(self.limit_ms)[0]),
                    "p99_ms": _finite(standing.p99_ms(self.limit_ms)),
                    "mean_ms": _finite(standing.mean_ms()),
                    "trials": [asdict(trial) for trial in standing.trials],
                }
                for standing in self.standings
            ],
        }

    def save(self, folder: Path, title: str) -> None:
        """Write results.json, results.md and latency.svg. Raises ModelError."""
        table = [COLUMNS, ("---",) * len(COLUMNS), *self.rows()]
        lines = [f"# {title}", "", *("| " + " | ".join(row) + " |" for row in table)]
        lines += ["", f"p99 at most {self.limit_ms:g} ms.", "", "![](latency.svg)", ""]
        files = {
            "results.json": json.dumps(self.document(), indent=1),
            "results.md": "\n".join(lines),
            "latency.svg": self.chart(title).svg(),
        }
        for name, text in files.items():
            atomic.write(folder / name, text.encode())

    def _row(self, standing: Standing) -> tuple[str, ...]:
        candidate, scores = standing.candidate, standing.scores(self.limit_ms)
        best = self.best is not None and candidate == self.best.candidate
        now = self.now is not None and candidate == self.now.candidate
        p99_ms = standing.p99_ms(self.limit_ms)
        effort = "" if standing.trials[0].effort is Effort.LONG else " short"
        return (
            " ".join(["best"] * best + ["now"] * now),
            *(str(number) for number in asdict(candidate).values()),
            f"{mean(scores):.0f}" if max(scores) else _why_not(standing.trials),
            f"{min(scores):.0f} to {max(scores):.0f}" if len(scores) > 1 else "",
            _ms(p99_ms),
            _ms(standing.mean_ms()),
            f"{len(scores)}{effort}",
        )


def pareto(points: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Those that no other beats in throughput and p99 at once, by throughput."""
    front: list[LoadPoint] = []
    for point in sorted(points, key=lambda p: (-p.per_s, p.p99_ms)):
        if not front or point.p99_ms < front[-1].p99_ms:
            front.append(point)
    return front[::-1]


def difference(slot: Slot, best: Standing) -> str:
    """What the best would change in config.pbtxt, as a unified diff."""
    path = slot.folder / versions.CONFIG
    before, after = slot.config.text, slot.config.tuned(best.candidate)
    lines = difflib.unified_diff(
        before.splitlines(True), after.splitlines(True), str(path), str(path), n=1
    )
    return "".join(lines)


def write(slot: Slot, best: Standing) -> Path:
    """Put the best into config.pbtxt; returns where the old one is kept. Raises SettingsError, ModelError."""
    path = slot.folder / versions.CONFIG
    current: ConfigText = read_config(slot.folder)
    if current.text != slot.config.text:
        raise SettingsError(f"{path} was changed meanwhile; nothing was written")
    kept = slot.folder / f"{versions.CONFIG}.old"
    number = 1
    while kept.exists():
        number += 1
        kept = slot.folder / f"{versions.CONFIG}.old-{number}"
    atomic.write(kept, current.text.encode())
    atomic.write(path, current.tuned(best.candidate).encode())
    return kept


def _averaged(standing: Standing) -> list[LoadPoint]:
    """Its trials as one line: at each concurrency the mean."""
    columns = zip(*(trial.points for trial in standing.trials if trial.points), strict=True)
    return [
        LoadPoint(
            same[0].concurrency,
            mean(point.per_s for point in same),
            mean(point.p50_ms for point in same),
            mean(point.p99_ms for point in same),
        )
        for same in columns
        if all(_whole(point) for point in same)
    ]


def _points(points: Sequence[LoadPoint], *, named: bool = False) -> tuple[Point, ...]:
    return tuple(
        Point(p.per_s, p.p99_ms, str(p.concurrency) if named else "", marked=named) for p in points
    )


def _whole(point: LoadPoint) -> bool:
    return not point.failed and math.isfinite(point.p99_ms)


def _why_not(trials: Sequence[Trial]) -> str:
    failed = any(trial.failure for trial in trials)
    return "does not run" if failed else "above the limit"


def _ms(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

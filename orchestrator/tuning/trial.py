"""What one way of serving a model gave, at several concurrencies."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import geometric_mean, mean

from orchestrator.tuning.candidate import Candidate

# By less, sooner answers are not worth a change.
SOONER = 0.95


class Effort(StrEnum):
    """How long it is measured: to sort out, or to compare."""

    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A closed loop with so many requests on their way. failed: requests without an answer."""

    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """failure: why nothing was measured; empty where something was."""

    candidate: Candidate
    effort: Effort
    points: tuple[LoadPoint, ...] = ()
    failure: str = ""

    def best(self, limit_ms: float) -> LoadPoint | None:
        """The most throughput of which 99 % of the answers came within the limit."""
        kept = [point for point in self.points if not point.failed and point.p99_ms <= limit_ms]
        return max(kept, key=lambda point: point.per_s, default=None)

    def score(self, limit_ms: float) -> tuple[float, float]:
        """To be maximised: throughput within the limit; where there is none, how near the limit it comes."""
        point = self.best(limit_ms)
        if point is not None:
            return point.per_s, 0.0
        nearest = min((point.p99_ms for point in self.points), default=float("inf"))
        return 0.0, -nearest

    def mean_ms(self) -> float:
        """How long an answer takes: the mean of each concurrency (Little's law), geometric mean over all of them.

        Infinite where requests failed.
        """
        if not self.points or any(point.failed or not point.per_s for point in self.points):
            return float("inf")
        return 1000 * geometric_mean([point.concurrency / point.per_s for point in self.points])


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate and all that was measured of it at the greatest effort."""

    candidate: Candidate
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, candidate: Candidate, trials: Sequence[Trial]) -> "Standing":
        own = [trial for trial in trials if trial.candidate == candidate]
        long = [trial for trial in own if trial.effort is Effort.LONG]
        return cls(candidate, tuple(long or own))

    def scores(self, limit_ms: float) -> list[float]:
        """Throughput of each trial."""
        return [trial.score(limit_ms)[0] for trial in self.trials]

    def means_ms(self) -> list[float]:
        """How long an answer takes in each trial."""
        return [trial.mean_ms() for trial in self.trials]

    def mean_ms(self) -> float:
        """The mean of these."""
        return mean(self.means_ms())

    def score(self, limit_ms: float) -> tuple[float, float]:
        found = [trial.score(limit_ms) for trial in self.trials]
        return mean(score[0] for score in found), mean(score[1] for score in found)

    def p99_ms(self, limit_ms: float) -> float:
        """The worst of its trials at their best point; NaN where none kept the limit."""
        points = [trial.best(limit_ms) for trial in self.trials]
        return max((point.p99_ms for point in points if point is not None), default=float("nan"))


def clearly_better(one: Standing, other: Standing, limit_ms: float) -> bool:
    """Whether each trial of the one beat each of the other: with three of each, chance lets a rival do so 1 in 20.

    In throughput; where neither does, in how soon it answers.
    """
    if _gives_more(one, other, limit_ms):
        return True
    if _gives_more(other, one, limit_ms) or not max(one.scores(limit_ms)):
        return False
    return max(one.means_ms()) < SOONER * min(other.means_ms())


def champion(standings: Sequence[Standing], now: Standing, limit_ms: float) -> Standing:
    """Of what is clearly better than now, the most throughput; of what gives as much, what answers soonest.

    Where nothing is clearly better, the most throughput.
    """
    better = [each for each in standings if clearly_better(each, now, limit_ms)]
    leader = max(better or standings, key=lambda each: each.score(limit_ms))
    alike = [each for each in better if not _gives_more(leader, each, limit_ms)]
    return min(alike, key=lambda each: each.mean_ms(), default=leader)


def _gives_more(one: Standing, other: Standing, limit_ms: float) -> bool:
    return min(one.scores(limit_ms)) > max(other.scores(limit_ms))

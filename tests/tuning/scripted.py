"""A server of known behaviour: each number has a best value, and costs something on either side of it."""

from dataclasses import dataclass, field
from itertools import product
from math import log2
from random import Random

from orchestrator.tuning.candidate import Candidate, Space
from orchestrator.tuning.trial import Effort, LoadPoint, Trial

NOW = Candidate(instances=2, max_batch=8, queue_delay_us=2000, threads=1)
ONE = Candidate(1, 1, 0, 1)


@dataclass
class ScriptedServer:
    """most_batch: a larger one does not run. noise: of the throughput, as a share. seen: what was asked.

    alike_when_full: what a delay costs is seen only where little is asked.
    """

    best: Candidate
    most_batch: int = 1000
    noise: float = 0.0
    alike_when_full: bool = False
    seen: list[tuple[Candidate, Effort]] = field(default_factory=list)
    dice: Random = field(default_factory=lambda: Random(7))

    async def measure(self, candidate: Candidate, effort: Effort) -> Trial:
        self.seen.append((candidate, effort))
        if candidate.max_batch > self.most_batch:
            return Trial(candidate, effort, failure="out of memory")
        per_s = self.per_s(candidate) * (1 + self.noise * self.dice.uniform(-1, 1))
        # Two in flight give all it can, eight give no more but wait for it.
        points = [(1, per_s / 2), (2, per_s), (8, per_s)]
        if self.alike_when_full:
            share = 0.85 ** (candidate.queue_delay_us / 1500)
            points[:2] = [(1, share * per_s / 2), (2, share * per_s)]
        return Trial(
            candidate, effort, tuple(self._point(candidate, c, rate) for c, rate in points)
        )

    def per_s(self, candidate: Candidate) -> float:
        steps = (
            abs(log2(candidate.instances / self.best.instances))
            + abs(log2(candidate.max_batch / self.best.max_batch))
            + abs(log2(candidate.threads / self.best.threads))
        )
        if not self.alike_when_full:
            steps += abs(candidate.queue_delay_us - self.best.queue_delay_us) / 1500
        return float(300 * 0.85**steps)

    def most(self, space: Space, limit_ms: float) -> float:
        """What trying everything would find."""
        axes = space.instances, space.max_batch, space.queue_delay_us, space.threads
        found = [Candidate(*values) for values in product(*axes)]
        return max(
            self.per_s(each)
            for each in found
            if each.max_batch <= self.most_batch
            and each.instances * each.threads <= space.all_threads
            and self._point(each, 2, self.per_s(each)).p99_ms <= limit_ms
        )

    @staticmethod
    def _point(candidate: Candidate, concurrency: int, per_s: float) -> LoadPoint:
        wait_ms = 1000 * concurrency / per_s + 3 * candidate.queue_delay_us / 1000
        return LoadPoint(concurrency, per_s, wait_ms, 2 * wait_ms)

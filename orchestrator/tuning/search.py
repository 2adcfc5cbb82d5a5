"""Finds a good way of serving without trying all: a coarse grid, then steps from the best, then a final among few."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import ServerError
from orchestrator.tuning.candidate import Candidate, Space
from orchestrator.tuning.trial import Effort, Standing, Trial, champion

KEPT_SHARE = 4  # of the coarse grid one in so many goes on
MOST_STEPS = 6
BEST = 3
FINALISTS = BEST + 3

Measure = Callable[[Candidate, Effort], Awaitable[Trial]]


@dataclass(slots=True)
class Search:
    """One sweep.

    limit_ms  what 99 % of the answers must keep
    repeats   trials of each finalist
    on_plan   told how many trials there may still be, at most, whenever that is known better
    """

    space: Space
    start: Candidate
    measure: Measure
    limit_ms: float
    repeats: int = 3
    on_plan: Callable[[int], None] = lambda _: None
    trials: list[Trial] = field(default_factory=list)

    async def run(self) -> tuple[Standing, Standing]:
        """The best and what is configured now; they may be the same. Raises ServerError if the latter does not run."""
        await self._coarse()
        best = await self._refined()
        return await self._final(best)

    def standings(self) -> list[Standing]:
        """Everything tried so far, best first."""
        tried = dict.fromkeys(trial.candidate for trial in self.trials)
        return self._sorted([Standing.of(candidate, self.trials) for candidate in tried])

    async def _coarse(self) -> None:
        """The grid's candidates briefly, and the better ones longer."""
        grid = list(dict.fromkeys([self.start, *self.space.coarse()]))
        kept = max(2, len(grid) // KEPT_SHARE)
        for number, candidate in enumerate(grid):
            self.on_plan(len(grid) - number + kept + self._most_after())
            trial = await self._try(candidate, Effort.SHORT)
            if candidate == self.start and trial.failure:
                raise ServerError(f"it does not run as it is configured now: {trial.failure}")
        for number, standing in enumerate(self.standings()[:kept]):
            self.on_plan(kept - number + self._most_after())
            await self._try(standing.candidate, Effort.LONG)

    async def _refined(self) -> Candidate:
        """Steps from the best to the best of its neighbours, as long as that is better."""
        best = self.standings()[0]
        for step in range(MOST_STEPS):
            new = [each for each in self.space.neighbours(best.candidate) if not self._tried(each)]
            for number, candidate in enumerate(new):
                self.on_plan(len(new) - number + 1 + self._most_after(step + 1))
                await self._try(candidate, Effort.SHORT)
            leader = self._sorted([Standing.of(each, self.trials) for each in new])[:1]
            if not leader or not self._beats(leader[0], best):
                break
            # A short trial flatters now and then: what leads has to do it again, for longer.
            await self._try(leader[0].candidate, Effort.LONG)
            again = Standing.of(leader[0].candidate, self.trials)
            if not self._beats(again, best):
                break
            best = again
        return best.candidate

    async def _final(self, best: Candidate) -> tuple[Standing, Standing]:
        """The best few and what is configured now, both as they are and with the least delay, in turns, to and fro.

        What a delay costs is seen where little is asked, and no throughput tells it.
        """
        ranked = [standing.candidate for standing in self.standings()]
        few = list(dict.fromkeys([best, *ranked]))[:BEST]
        least_us = self.space.queue_delay_us[0]
        prompt = [replace(each, queue_delay_us=least_us) for each in (best, self.start)]
        finalists = list(dict.fromkeys([*few, *prompt, self.start]))
        found: list[Trial] = []
        for turn in range(self.repeats):
            order = finalists if turn % 2 == 0 else finalists[::-1]
            for number, candidate in enumerate(order):
                left = (self.repeats - turn) * len(finalists) - number
                self.on_plan(left)
                found.append(await self._try(candidate, Effort.LONG))
        self.on_plan(0)
        standings = [Standing.of(candidate, found) for candidate in finalists]
        now = Standing.of(self.start, found)
        return champion(standings, now, self.limit_ms), now

    async def _try(self, candidate: Candidate, effort: Effort) -> Trial:
        trial = await self.measure(candidate, effort)
        self.trials.append(trial)
        return trial

    def _tried(self, candidate: Candidate) -> bool:
        return any(trial.candidate == candidate for trial in self.trials)

    def _beats(self, one: Standing, other: Standing) -> bool:
        return one.score(self.limit_ms) > other.score(self.limit_ms)

    def _sorted(self, standings: Sequence[Standing]) -> list[Standing]:
        return sorted(standings, key=lambda each: each.score(self.limit_ms), reverse=True)

    def _most_after(self, steps: int = 0) -> int:
        """Trials of the steps that are left, and of the final."""
        a_step = len(self.space.neighbours(self.start)) + 1
        return (MOST_STEPS - steps) * a_step + self.repeats * FINALISTS

"""A sweep from end to end: what is tried on this machine, what is remembered, and what has been found so far."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.tuning.candidate import Candidate, Space
from orchestrator.tuning.journal import Journal
from orchestrator.tuning.outcome import Outcome
from orchestrator.tuning.search import Search
from orchestrator.tuning.stand import Plan, Slot, Stand
from orchestrator.tuning.trial import Effort, Standing, Trial

START_S = 5.0  # of a server, until one has been timed
PLAIN = Candidate(2, 1, 0, 1)
MEASURED_BY = ("fess", "nvidia-pytriton", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Progress:
    """left: trials there may still be, at most. left_s: how long they would take."""

    done: int
    left: int
    left_s: float


@dataclass(frozen=True, slots=True)
class Wish:
    """limit_ms: what 99 % of the answers must keep. values: of a candidate's numbers, where they are given."""

    limit_ms: float
    repeats: int
    values: Mapping[str, tuple[int, ...]]


class Sweep:
    def __init__(
        self,
        slot: Slot,
        plan: Plan,
        wish: Wish,
        folder: Path,
        *,
        fresh: bool = False,
        on_trial: Callable[[Trial], None] = lambda _: None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is started yet. Raises SettingsError for the folder, or for a given number.

        folder: where trials are remembered. fresh: those that are there are forgotten.
        """
        self._slot = slot
        self._plan = plan
        self._wish = wish
        self._journal = Journal(folder, identity(slot, plan))
        if fresh:
            self._journal.forget()
        self._on_trial = on_trial
        self._on_progress = on_progress
        self._stand: Stand | None = None
        self._took_s: list[float] = []
        start = slot.config.candidate
        self._search = Search(
            Space.around(start, slot.config.least, cores=cores(), given=wish.values),
            start,
            self._journal.remembering(self._measure),
            wish.limit_ms,
            wish.repeats,
            self._plan_changed,
        )

    @property
    def remembered(self) -> int:
        """Trials that need not be measured again."""
        return len(self._journal.trials)

    @property
    def sent(self) -> str:
        return self._stand.sent if self._stand else ""

    async def run(self) -> Outcome:
        """Raises ServerError if the model does not run as it is configured now."""
        with tempfile.TemporaryDirectory(prefix="fess-bench-") as folder:
            self._stand = Stand(self._slot, self._plan, Path(folder))
            best, now = await self._search.run()
        return self._outcome(best, now)

    def so_far(self) -> Outcome:
        """What an interrupted sweep knows."""
        return self._outcome(None, None)

    def _outcome(self, best: Standing | None, now: Standing | None) -> Outcome:
        return Outcome(self._wish.limit_ms, tuple(self._search.standings()), best, now)

    async def _measure(self, candidate: Candidate, effort: Effort) -> Trial:
        assert self._stand is not None
        began_s = time.monotonic()
        trial = await self._stand.measure(candidate, effort)
        self._took_s.append(time.monotonic() - began_s)
        self._on_trial(trial)
        return trial

    def _plan_changed(self, left: int) -> None:
        known = self._took_s or [START_S + self._plan.seconds * len(self._plan.concurrencies)]
        done = len(self._search.trials)
        self._on_progress(Progress(done, left, left * sum(known) / len(known)))


def identity(slot: Slot, plan: Plan) -> dict[str, object]:
    """What must be the same for a trial to be worth remembering. What is tuned is not part of it."""
    model = slot.folder / str(slot.version) / "model.onnx"
    return {
        "config": slot.config.tuned(PLAIN),
        "model": hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else "",
        "cores": cores(),
        "concurrencies": plan.concurrencies,
        "seconds": plan.seconds,
        "clips": [str(clip.resolve()) for clip in plan.clips],
        "device": plan.device,
        "asked": plan.triton.model_dump(mode="json", exclude={"url", "model_repository"}),
        "by": [_version(name) for name in MEASURED_BY],
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name

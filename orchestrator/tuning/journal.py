"""What was measured so far, a line each, so that an interrupted sweep goes on where it was."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import SettingsError
from orchestrator.tuning.candidate import Candidate
from orchestrator.tuning.search import Measure
from orchestrator.tuning.trial import Effort, Trial

TRIAL = TypeAdapter(Trial)


class Journal:
    """The trials of one identity: the same model, machine and way of measuring. Others have a file of their own."""

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        """Read what is there. Raises SettingsError where the folder cannot be used."""
        text = json.dumps(identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.path = folder / f"trials-{digest}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.trials = _read(self.path)
        except OSError as error:
            raise SettingsError(f"{folder} cannot be used: {error.strerror}") from error

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.trials = []

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial)) + "\n")

    def remembering(self, measure: Measure) -> Measure:
        """Measure only what was not measured before: the n-th time of a candidate is its n-th line."""
        asked: Counter[tuple[Candidate, Effort]] = Counter()

        async def remembered(candidate: Candidate, effort: Effort) -> Trial:
            known = [t for t in self.trials if (t.candidate, t.effort) == (candidate, effort)]
            number = asked[candidate, effort]
            asked[candidate, effort] += 1
            if number < len(known):
                return known[number]
            trial = await measure(candidate, effort)
            if not trial.failure:  # which may be mended by the next time
                self.add(trial)
            return trial

        return remembered


def _read(path: Path) -> list[Trial]:
    """Whole lines only: the last may be half written."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(TRIAL.validate_json(line))
        except ValidationError:
            continue
    return found

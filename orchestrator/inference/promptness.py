"""How long a model's answers take at the moment, so that nothing is asked that cannot be answered in time.

Without it a busy server works itself to a standstill: requests that waited their turn are sent with too little
time left, are given up, and were worked on in vain.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

# An estimate this old says nothing about now; else one slow answer could hold back every further request.
FORGOTTEN_AFTER_S = 1.0
NEWEST_SHARE = 0.1
# Mean deviations above the mean (Jacobson 1988): whoever waits for a turn gets it when hardly enough time is left.
SPREADS = 3.0


@dataclass(slots=True)
class _Answers:
    usual_s: float
    spread_s: float
    last_at_s: float


class Promptness:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[str, _Answers] = {}

    def answered(self, model: str, sent_s: float) -> None:
        """An answer came just now to what was sent then."""
        now = self._clock()
        took_s, known = now - sent_s, self._answers.get(model)
        if known is None or now - known.last_at_s > FORGOTTEN_AFTER_S:
            self._answers[model] = _Answers(took_s, 0.0, now)
        else:
            off_s = took_s - known.usual_s
            known.usual_s += NEWEST_SHARE * off_s
            known.spread_s += NEWEST_SHARE * (abs(off_s) - known.spread_s)
            known.last_at_s = now

    def hopeless(self, model: str, left_s: float) -> bool:
        """Whether most answers take longer than what is left."""
        known = self._answers.get(model)
        if known is None or self._clock() - known.last_at_s > FORGOTTEN_AFTER_S:
            return False
        return left_s < known.usual_s + SPREADS * known.spread_s

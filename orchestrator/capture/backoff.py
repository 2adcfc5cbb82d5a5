"""How long a lost camera is left alone before it is tried again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling delay with jitter.

    A camera that was lost a short while ago (`recent_s`) is tried at least every `recent_cap_s`, so that one
    that comes back is seen again within two seconds; after that the delay grows to `cap_s`. A refusal that
    will not pass by itself, such as a wrong password, gets no such patience: cameras lock accounts out.
    """

    base_s: float = 0.5
    cap_s: float = 30.0
    recent_cap_s: float = 1.5
    recent_s: float = 900.0
    healthy_after_s: float = 10.0

    def delay_s(self, attempt: int, lost_for_s: float, *, lasting: bool = False) -> float:
        """attempt: failures before this one in a row; lost_for_s: since the camera was last seen."""
        # The exponent is capped too: after a night offline 2**1024 no longer fits a float.
        ceiling_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 16))
        if lost_for_s < self.recent_s and not lasting:
            ceiling_s = min(ceiling_s, self.recent_cap_s)
        return ceiling_s * random.uniform(0.5, 1.0)

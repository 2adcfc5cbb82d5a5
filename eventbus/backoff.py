"""How long to wait before trying again: longer each time, never the same for two processes."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    base_s: float = 0.1
    cap_s: float = 5.0

    def delay_s(self, attempt: int, rng: random.Random) -> float:
        """Between half and all of base * 2**attempt, at most cap_s. `attempt` counts from 0."""
        exponent = min(attempt, 32)  # 2.0 ** 1024, a night offline, would overflow
        return min(self.cap_s, self.base_s * 2.0**exponent) * rng.uniform(0.5, 1.0)

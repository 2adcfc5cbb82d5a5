"""Holds requests back while a server is down, and lets one through now and then to see."""

import math
import time
from collections.abc import Callable

from orchestrator.errors import InferenceUnavailable

# A server that is busy answers some of all the requests in time; one that hangs, or always is late, none.
SILENT_S = 2.0


class Breaker:
    """Opens after `failures` in a row; after `reset_s` one request is let through; its success closes."""

    def __init__(
        self,
        failures: int,
        reset_s: float,
        *,
        on_change: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._reset_s = reset_s
        self._on_change = on_change
        self._clock = clock
        self._failed = 0
        self._next_try_s = 0.0
        self._succeeded_s = -math.inf

    @property
    def is_open(self) -> bool:
        return self._failed >= self._limit

    def admit(self) -> None:
        """Raises InferenceUnavailable while requests are held back."""
        if not self.is_open:
            return
        now = self._clock()
        if now < self._next_try_s:
            raise InferenceUnavailable("Triton does not answer; requests are held back for now")
        self._next_try_s = now + self._reset_s

    def succeeded(self) -> None:
        was_open, self._failed = self.is_open, 0
        self._succeeded_s = self._clock()
        if was_open:
            self._on_change(False)

    def failed(self) -> None:
        was_open = self.is_open
        self._failed += 1
        if self.is_open and not was_open:
            self._next_try_s = self._clock() + self._reset_s
            self._on_change(True)

    def unanswered(self) -> None:
        """Nothing came in time. Counts as a failure, but does not open while others are answered."""
        if self._clock() - self._succeeded_s >= SILENT_S:
            self.failed()
        elif not self.is_open:
            self._failed = min(self._failed + 1, self._limit - 1)

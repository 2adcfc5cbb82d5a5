"""Tells the log of a bus that is away: at once, then once a minute, and when it is back."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# It is tried every few seconds: as many lines would bury everything else.
REMIND_S = 60.0


class Outage:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries = 0
        self._since_s = 0.0
        self._remind_s = 0.0

    def failed(self, reason: str, waiting: int) -> None:
        """The bus did not take what it was given; waiting: events that it has yet to take."""
        now_s = self._clock()
        self._tries += 1
        if self._tries == 1:
            self._since_s = now_s
            log.warning(
                "%s; %d events wait, and are tried again until they are taken", reason, waiting
            )
        elif now_s >= self._remind_s:
            log.warning(
                "%s; for %.0f s, after %d tries; %d events wait",
                reason,
                now_s - self._since_s,
                self._tries,
                waiting,
            )
        else:
            return
        self._remind_s = now_s + REMIND_S

    def over(self, waiting: int) -> None:
        """The bus took what it was given."""
        if self._tries:
            log.warning(
                "the bus takes events again, after %.0f s and %d tries; %d wait",
                self._clock() - self._since_s,
                self._tries,
                waiting,
            )
            self._tries = 0

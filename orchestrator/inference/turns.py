"""Who may ask Triton now: no more at once than are answered soon, and nothing that cannot be answered in time.

A request keeps its turn until Triton has done with it, also where nobody waits for it any more: it is still worked on.
How many turns there are is found out as TCP finds its window (slow start, then additive increase and multiplicative
decrease: Jacobson 1988, Chiu and Jain 1989), so that processes share a server without knowing of each other.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from prometheus_client import Gauge

from orchestrator.errors import InferenceStale
from orchestrator.inference.promptness import Promptness

# Of the time that a request has in all, an answer should take no more; the rest is for the wait before
# it and for the stages after it.
SOON = 0.5
# An answer within this is soon, however little time its request had left.
SOON_S = 0.1
# What is left of the turns after an answer that came later than that.
CUT = 0.75
# Turns before the first answer; each that comes soon gives one more, until one does not.
FIRST = 4


class Turn:
    """One request's. It is over when whoever took it has left, and its call too is over if it went on after that."""

    __slots__ = (
        "_goes_on",
        "_over",
        "_taken",
        "_turns",
        "begun_s",
        "deadline_s",
        "model",
        "sent_s",
    )

    def __init__(self, turns: "Turns", model: str, begun_s: float, deadline_s: float) -> None:
        self._turns = turns
        self._taken, self._goes_on, self._over = True, False, False
        self.model = model
        self.begun_s = begun_s
        self.deadline_s = deadline_s
        self.sent_s = begun_s

    def leave(self) -> None:
        """By whoever took it."""
        self._taken = False
        self._end()

    def stay(self) -> None:
        """Its call goes on without whoever took it."""
        self._goes_on = True

    def end(self) -> None:
        """That call is over."""
        self._goes_on = False
        self._end()

    def _end(self) -> None:
        if not (self._taken or self._goes_on or self._over):
            self._over = True
            self._turns.give_back()

    def answered(self) -> None:
        """Triton has answered just now, whether or not somebody still waits."""
        self._turns.answered(self)

    def refused(self) -> None:
        """Triton has too much to do for it."""
        self._turns.cut(self)


class Turns:
    def __init__(
        self, most: int, limit: Gauge, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """most: at once, at any time. limit: where it is told how many they may be at the moment."""
        self._most = most
        self._limit = float(min(most, FIRST))
        self._starting = True
        self._told = limit
        self._clock = clock
        self._promptness = Promptness(clock)
        self._cut_s = float("-inf")
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        limit.set(int(self._limit))

    async def take(self, model: str, deadline_s: float) -> Turn:
        """Wait for a turn, first come, first served. Raises TimeoutError; InferenceStale where it would be in vain."""
        turn = Turn(self, model, self._clock(), deadline_s)
        await self._granted(deadline_s)
        turn.sent_s = self._clock()
        left_s = deadline_s - turn.sent_s
        if left_s <= 0 or self._promptness.hopeless(model, left_s):
            turn.leave()
            raise InferenceStale("the frame was too old before it could be sent to Triton")
        return turn

    async def _granted(self, deadline_s: float) -> None:
        if self._taken < int(self._limit) and not self._waiting:
            self._taken += 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(deadline_s - self._clock()):
                await mine
        except BaseException:  # whoever leaves, at a cancellation too, leaves no turn taken behind
            if mine.done() and not mine.cancelled():
                self.give_back()  # it came in the moment in which we left
            elif mine in self._waiting:
                self._waiting.remove(mine)
            raise

    def give_back(self) -> None:
        self._taken -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._taken < int(self._limit):
            first = self._waiting.popleft()
            if not first.done():
                self._taken += 1
                first.set_result(None)

    def answered(self, turn: Turn) -> None:
        self._promptness.answered(turn.model, turn.sent_s)
        took_s, had_s = self._clock() - turn.sent_s, turn.deadline_s - turn.begun_s
        if took_s > max(SOON * had_s, SOON_S):
            self.cut(turn)
        else:
            more = 1.0 if self._starting else 1 / self._limit
            self._allow(min(self._limit + more, self._most))

    def cut(self, turn: Turn) -> None:
        """Once for all that were on their way together."""
        if turn.sent_s > self._cut_s:
            self._cut_s = self._clock()
            self._starting = False
            self._allow(max(self._limit * CUT, 1.0))

    def _allow(self, limit: float) -> None:
        self._limit = limit
        self._told.set(int(limit))
        self._grant()

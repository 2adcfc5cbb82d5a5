"""Finds the largest number that holds, in few trials, each of which takes its time."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar


class Attempt(Protocol):
    """A trial of one number, over."""

    @property
    def cameras(self) -> int: ...

    @property
    def holds(self) -> bool: ...

    def limit(self) -> str:
        """What ran out."""
        ...


A = TypeVar("A", bound=Attempt)


class Search(Generic[A]):
    """Strides up or down from a guess, then halves the rest, until the boundary is known to within `near`.

    best   the largest number found to hold
    tried  every trial, in their order
    """

    def __init__(
        self,
        attempt: Callable[[int], Awaitable[A]],
        *,
        guess: int,
        stride: int,
        near: int,
        most: int,
        trials: int,
    ) -> None:
        self._attempt = attempt
        self._number = guess
        self._stride, self._near, self._most = stride, near, most
        self._trials = trials
        self._high = most + 1
        self.best = 0
        self.tried: list[A] = []

    @property
    def over(self) -> bool:
        return len(self.tried) == self._trials or self._high - self.best <= self._near

    async def step(self) -> None:
        """One trial."""
        attempt = await self._attempt(self._number)
        self.tried.append(attempt)
        if attempt.holds:
            self.best = self._number
        else:
            self._high = self._number
        self._number = self._next()

    def limits(self) -> str:
        """What ran out at the smallest number that was too large, or what was left at the largest."""
        beyond = [attempt for attempt in self.tried if attempt.cameras > self.best]
        if beyond:
            least = min(beyond, key=lambda attempt: attempt.cameras)
            return f"{least.cameras} do not hold: {least.limit()}"
        most = max(self.tried, key=lambda attempt: attempt.cameras)
        return f"no larger number was tried: {most.limit()}"

    def _next(self) -> int:
        if self._high > self._most:
            return min(self.best + self._stride, self._most)
        if self.best == 0:
            return max(self._high - self._stride, self._high // 2)
        return (self.best + self._high) // 2


async def in_turns(*searches: Search[Any]) -> None:
    """A trial of each after the other: a machine whose speed drifts meanwhile is as slow for one as for the next."""
    while not all(search.over for search in searches):
        for search in searches:
            if not search.over:
                await search.step()

"""Silence after an alert, so that one person who stays is one alert and not a hundred."""

from datetime import datetime, timedelta

Key = tuple[str, str, str]


class Cooldown:
    """When each key was last let through, in event time; at most `capacity` keys are remembered."""

    def __init__(self, length: timedelta, capacity: int = 10_000) -> None:
        self._length = length
        self._capacity = capacity
        self._admitted: dict[Key, datetime] = {}  # oldest admission first
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, key: Key, moment: datetime) -> bool:
        """Let a key through unless it was let through less than the length ago."""
        last = self._admitted.get(key)
        # The distance, not the difference: after the wall clock was set back an hour, nobody is
        # silenced for an hour.
        if last is not None and abs(moment - last) < self._length:
            return False
        self._admitted.pop(key, None)
        self._admitted[key] = moment
        self._prune(moment)
        return True

    def _prune(self, moment: datetime) -> None:
        """Drop what has run out; beyond the capacity the oldest, which may then be told again too early."""
        while self._admitted:
            oldest = next(iter(self._admitted))
            if abs(moment - self._admitted[oldest]) >= self._length:
                del self._admitted[oldest]
            elif len(self._admitted) > self._capacity:
                del self._admitted[oldest]
                self.forgotten += 1
            else:
                return

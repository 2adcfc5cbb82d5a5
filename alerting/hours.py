"""Times of day, written as people write them: `22:00-06:00`, or `08:00-12:00, 13:00-17:00`."""

import re
from dataclasses import dataclass
from datetime import time

_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_DAY_MIN = 24 * 60
_MEND = "write 22:00-06:00, several as 08:00-12:00, 13:00-17:00, or 00:00-24:00 for the whole day"


class HoursInvalid(ValueError):
    """The text is not a list of times of day. The message says how to write one."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"hours {text!r}: {reason}; {_MEND}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of a day in minutes after midnight, start included, end not; one that ends earlier spans midnight."""

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Read a list of spans. Raises HoursInvalid."""
        return cls(tuple(_span(text, part.strip()) for part in text.split(",")))

    def __contains__(self, moment: time) -> bool:
        minute = moment.hour * 60 + moment.minute
        return any(
            start <= minute < end if start < end else minute >= start or minute < end
            for start, end in self.spans
        )


def _span(text: str, part: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise HoursInvalid(text, f"{part!r} is not a span of time" if part else "a span is missing")
    start_h, start_m, end_h, end_m = map(int, match.groups())
    start, end = start_h * 60 + start_m, end_h * 60 + end_m
    if start_m > 59 or end_m > 59 or start >= _DAY_MIN or end > _DAY_MIN:
        raise HoursInvalid(text, f"{part!r} holds a time that no clock shows")
    if start == end:
        raise HoursInvalid(text, f"{part!r} begins and ends at the same time")
    return start, end

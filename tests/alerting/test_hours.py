"""Hours of the day, as people write them."""

import contextlib
from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.hours import Hours, HoursInvalid

minutes = st.integers(0, 24 * 60 - 1)


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def moment(minute: int) -> time:
    return time(minute // 60, minute % 60, 59)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("08:00-17:00", ["08:00", "16:59"], ["07:59", "17:00", "00:00"]),
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59", "12:00"]),
        ("22:00-00:00", ["22:00", "23:59"], ["00:00", "21:59"]),
        ("8:00-12:00, 13:00-17:00", ["08:00", "13:00"], ["12:00", "12:59", "17:00"]),
        (" 22:00 - 24:00 ", ["22:00", "23:59"], ["00:00"]),
    ],
)
def test_the_start_belongs_to_a_span_and_the_end_does_not(
    hours: str, inside: list[str], outside: list[str]
) -> None:
    parsed = Hours.parse(hours)
    assert [text for text in inside if time.fromisoformat(text) not in parsed] == []
    assert [text for text in outside if time.fromisoformat(text) in parsed] == []


@given(minutes)
def test_the_whole_day_holds_every_minute(minute: int) -> None:
    assert moment(minute) in Hours.parse("00:00-24:00")


@given(minutes, minutes, minutes)
def test_a_span_and_its_reverse_share_the_day_between_them(start: int, end: int, now: int) -> None:
    if start == end:
        with pytest.raises(HoursInvalid):
            Hours.parse(f"{clock(start)}-{clock(end)}")
        return
    span = Hours.parse(f"{clock(start)}-{clock(end)}")
    reverse = Hours.parse(f"{clock(end)}-{clock(start)}")
    assert (moment(now) in span) != (moment(now) in reverse)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a span is missing"),
        ("22:00-06:00,", "a span is missing"),
        ("night", "'night' is not a span of time"),
        ("22-06", "'22-06' is not a span of time"),
        ("22:00", "'22:00' is not a span of time"),
        ("22:00-06:00-08:00", "is not a span of time"),
        ("25:00-06:00", "holds a time that no clock shows"),
        ("24:00-06:00", "holds a time that no clock shows"),
        ("08:60-09:00", "holds a time that no clock shows"),
        ("08:00-24:01", "holds a time that no clock shows"),
        ("08:00-08:00", "begins and ends at the same time"),
        ("\u0660\u0668:00-09:00", "is not a span of time"),
    ],
)
def test_what_is_no_time_of_day_is_refused_with_the_mend(text: str, reason: str) -> None:
    with pytest.raises(HoursInvalid, match="write 22:00-06:00") as refused:
        Hours.parse(text)
    assert reason in refused.value.reason


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    spans: tuple[tuple[int, int], ...] | None = None
    with contextlib.suppress(HoursInvalid):
        spans = Hours.parse(text).spans
    assert spans is None or len(spans) == text.count(",") + 1

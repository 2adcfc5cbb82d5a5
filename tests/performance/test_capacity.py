"""How many cameras: the searches find their boundaries in few trials and in turns, and what bare holds is judged."""

from dataclasses import asdict, dataclass, replace

import pytest

from tests.performance.bare import report_of
from tests.performance.capacity import BARE, WATCHED, Bounds, against
from tests.performance.clips import FULL_HD
from tests.performance.floor import Floor
from tests.performance.outcome import Figure
from tests.performance.search import Search, in_turns
from tests.performance.trial import Trial


@dataclass(frozen=True, slots=True)
class Tried:
    cameras: int
    holds: bool

    def limit(self) -> str:
        return "the cores"


GOOD = Floor(cameras=14, answered=1.0, p99_ms=40.0, lag_p99_ms=200.0, slowest_fps=25.0)
USED = {"orchestrator": 1.0, "Triton": 0.5}
LEAST = {"decoder": 0.8, "Triton": 0.4}


class Machine:
    """Holds up to a limit; notes what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def search(self, limit: int, bounds: Bounds, name: str = "") -> Search[Tried]:
        async def attempt(number: int) -> Tried:
            self.asked.append((name, number))
            return Tried(number, number <= limit)

        return Search(attempt, **asdict(bounds))


async def found(limit: int, bounds: Bounds) -> tuple[int, list[int]]:
    machine = Machine()
    search = machine.search(limit, bounds)
    await in_turns(search)
    return search.best, [number for _, number in machine.asked]


PATIENT = Bounds(14, 4, 1, 40, trials=20)


@pytest.mark.parametrize("limit", range(41))
async def test_the_boundary_is_found_wherever_it_lies(limit: int) -> None:
    assert (await found(limit, PATIENT))[0] == limit


@pytest.mark.parametrize("limit", range(41))
async def test_no_number_is_tried_twice_or_beyond_the_most(limit: int) -> None:
    _, tried = await found(limit, PATIENT)
    assert len(set(tried)) == len(tried)
    assert 1 <= min(tried) <= max(tried) <= 40


@pytest.mark.parametrize("limit", range(10, 23))
async def test_near_the_guess_the_allowed_trials_are_enough(limit: int) -> None:
    bounds = WATCHED[FULL_HD]
    number, tried = await found(limit, bounds)
    assert number == limit
    assert len(tried) <= bounds.trials


@pytest.mark.parametrize("limit", [11, 12, 13, 14])
async def test_at_the_guess_four_trials_are_enough(limit: int) -> None:
    assert len((await found(limit, WATCHED[FULL_HD]))[1]) <= 4


async def test_nothing_that_failed_is_reported() -> None:
    assert (await found(0, replace(PATIENT, trials=2)))[0] == 0
    assert all(bounds.guess <= bounds.most for bounds in WATCHED.values())


async def test_two_searches_take_turns_until_both_are_over() -> None:
    machine = Machine()
    fess, bare = (
        machine.search(12, WATCHED[FULL_HD], "fess"),
        machine.search(15, BARE, "bare"),
    )
    await in_turns(fess, bare)
    assert (fess.best, bare.best) == (12, 15)
    names = [name for name, _ in machine.asked]
    both = 2 * min(names.count("fess"), names.count("bare"))
    assert names[:both] == ["fess", "bare"] * (both // 2)


async def test_what_ran_out_is_told_of_the_smallest_number_that_was_too_large() -> None:
    search = Machine().search(12, WATCHED[FULL_HD])
    await in_turns(search)
    assert search.limits() == "13 do not hold: the cores"


async def compared(fess: int, bare: int) -> tuple[Figure, ...]:
    async def watch(number: int) -> Trial:
        return Trial(
            number, 40.0, 90.0, slowest_fps=5.0, dropped=0.0 if number <= fess else 0.05, cores=USED
        )

    async def decode(number: int) -> Floor:
        return replace(GOOD, cameras=number, answered=1.0 if number <= bare else 0.9, cores=LEAST)

    searches = (
        Search(watch, **asdict(WATCHED[FULL_HD])),
        Search(decode, **asdict(BARE)),
    )
    await in_turns(*searches)
    return against(*searches)


async def test_the_share_says_how_far_one_camera_would_move_it() -> None:
    floor, share, _ = await compared(12, 15)
    assert (floor.value, share.value) == (15, 0.8)
    assert share.spread == "12 of 15; 0.69 to 0.93, were each wrong by one, to either side"


async def test_what_the_same_cameras_cost_is_compared_at_the_number_where_both_begin() -> None:
    _, _, costs = await compared(12, 15)
    assert costs.what == "CPU of everything at 13 cameras: FESS / bare"
    assert costs.value == pytest.approx(1.25)
    assert costs.spread == "1.50 and 1.20 cores; FESS dropped 5.00 %"


async def test_there_is_no_share_of_nothing() -> None:
    floor, _ = await compared(0, 0)
    assert floor.value == 0


@pytest.mark.parametrize(
    ("floor", "holds"),
    [
        (GOOD, True),
        (replace(GOOD, answered=0.98), False),
        (replace(GOOD, p99_ms=500.0), False),
        (replace(GOOD, p99_ms=float("nan")), False),
        (replace(GOOD, lag_p99_ms=500.0), False),
        (replace(GOOD, slowest_fps=24.0), False),
        (replace(GOOD, lacking="no picture came"), False),
        (Floor(14), False),
    ],
)
def test_bare_holds_where_nothing_is_late_or_left_out(floor: Floor, holds: bool) -> None:
    assert floor.holds is holds


def test_lag_is_counted_from_each_streams_own_quickest_picture() -> None:
    """One stream began five seconds before the other; the second is late once in two pictures."""
    report = report_of([[5.0] * 50, [0.0, 0.3] * 30], seconds=2.0)
    assert report.slowest_fps == 25.0
    assert report.lag_p99_ms == pytest.approx(300.0)


def test_a_camera_that_gave_no_picture_is_as_slow_as_can_be() -> None:
    assert report_of([[5.0], []], seconds=2.0).slowest_fps == 0.0

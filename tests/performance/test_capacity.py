"""The search for the largest number of cameras: found to within what was asked, in few trials."""

import pytest

from tests.performance.capacity import SEARCHES, TRIALS, largest


async def found(limit: int, *, near: int = 1, trials: int = 20) -> tuple[int, list[int]]:
    tried: list[int] = []

    async def holds(number: int) -> bool:
        tried.append(number)
        return number <= limit

    number = await largest(holds, guess=14, stride=4, near=near, most=40, trials=trials)
    return number, tried


@pytest.mark.parametrize("limit", range(41))
async def test_the_boundary_is_found_wherever_it_lies(limit: int) -> None:
    assert (await found(limit))[0] == limit


@pytest.mark.parametrize("limit", range(41))
async def test_no_number_is_tried_twice_or_beyond_the_most(limit: int) -> None:
    _, tried = await found(limit)
    assert len(set(tried)) == len(tried)
    assert 1 <= min(tried) <= max(tried) <= 40


@pytest.mark.parametrize("limit", range(10, 23))
async def test_near_the_guess_the_allowed_trials_are_enough(limit: int) -> None:
    number, tried = await found(limit, trials=TRIALS)
    assert number == limit
    assert len(tried) <= TRIALS


async def test_nothing_that_failed_is_reported() -> None:
    assert (await found(0, trials=2))[0] == 0
    assert all(guess <= most for guess, _, _, most in SEARCHES.values())

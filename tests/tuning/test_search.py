"""The search finds the best way of serving without trying every one, whatever the server's behaviour."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ServerError, SettingsError
from orchestrator.tuning.candidate import Candidate, Space
from orchestrator.tuning.search import Search
from orchestrator.tuning.trial import (
    Effort,
    LoadPoint,
    Standing,
    Trial,
    champion,
    clearly_better,
)
from tests.tuning.scripted import NOW, ONE, ScriptedServer

NO_LIMIT_MS = 10_000.0


def space(cores: int = 2) -> Space:
    return Space.around(NOW, ONE, cores=cores, given={})


async def swept(
    server: ScriptedServer, limit_ms: float = NO_LIMIT_MS, cores: int = 2
) -> tuple[Standing, Standing, Search]:
    search = Search(space(cores), NOW, server.measure, limit_ms)
    best, now = await search.run()
    return best, now, search


@settings(max_examples=40, deadline=None)
@given(
    best=st.builds(
        Candidate,
        st.sampled_from([1, 2, 4]),
        st.sampled_from([1, 2, 4, 8, 16]),
        st.sampled_from([0, 500, 1000, 2000, 5000]),
        st.sampled_from([1, 2]),
    )
)
async def test_wherever_the_best_is_it_is_found(best: Candidate) -> None:
    server = ScriptedServer(best)
    found, _, search = await swept(server)
    assert server.per_s(found.candidate) >= 0.95 * server.most(space(), NO_LIMIT_MS)
    assert len({trial.candidate for trial in search.trials}) < 0.6 * space().size


async def test_on_a_large_machine_it_tries_a_small_part_of_what_there_is() -> None:
    server = ScriptedServer(Candidate(8, 8, 1000, 2))
    found, _, search = await swept(server, cores=16)
    assert server.per_s(found.candidate) >= 0.95 * 300
    assert len({trial.candidate for trial in search.trials}) < 0.15 * space(16).size


@pytest.mark.parametrize("seed", range(5))
async def test_noise_does_not_lead_it_astray(seed: int) -> None:
    server = ScriptedServer(Candidate(4, 4, 500, 1), noise=0.04)
    server.dice.seed(seed)
    found, _, _ = await swept(server)
    assert server.per_s(found.candidate) >= 0.85 * server.most(space(), NO_LIMIT_MS)


async def test_what_answers_too_late_is_no_winner_however_much_it_gives() -> None:
    server = ScriptedServer(Candidate(2, 8, 5000, 1))
    limit_ms = 30.0
    found, now, _ = await swept(server, limit_ms)
    assert found.p99_ms(limit_ms) <= limit_ms
    assert server.per_s(found.candidate) >= 0.95 * server.most(space(), limit_ms)
    assert found.candidate.queue_delay_us < now.candidate.queue_delay_us


async def test_a_way_that_does_not_run_is_passed_over() -> None:
    server = ScriptedServer(Candidate(2, 16, 0, 1), most_batch=8)
    found, _, search = await swept(server)
    assert found.candidate.max_batch == 8
    assert any(trial.failure for trial in search.trials)


async def test_where_the_present_way_does_not_run_the_reason_is_told() -> None:
    with pytest.raises(ServerError, match="configured now: out of memory"):
        await swept(ScriptedServer(NOW, most_batch=4))


async def test_the_present_way_is_measured_as_often_as_the_best_and_in_turns() -> None:
    server = ScriptedServer(Candidate(4, 4, 500, 1))
    found, now, search = await swept(server)
    assert len(found.trials) == len(now.trials) == search.repeats
    final = [candidate for candidate, _ in server.seen[-3 * 5 :]]
    assert final[:5] == final[5:10][::-1] == final[10:]
    assert {NOW, replace(NOW, queue_delay_us=0)} < set(final)


async def test_what_is_best_already_is_found_to_be() -> None:
    found, now, _ = await swept(ScriptedServer(NOW))
    assert found.candidate == now.candidate == NOW
    assert not clearly_better(found, now, NO_LIMIT_MS)


async def test_better_is_what_was_better_every_time() -> None:
    server = ScriptedServer(Candidate(2, 8, 0, 1))
    found, now, _ = await swept(server)
    assert clearly_better(found, now, NO_LIMIT_MS)
    doubtful = Standing(found.candidate, (*found.trials, now.trials[0]))
    assert not clearly_better(doubtful, now, NO_LIMIT_MS)


@pytest.mark.parametrize("seed", range(5))
async def test_of_what_gives_as_much_the_one_that_answers_sooner_is_better(seed: int) -> None:
    server = ScriptedServer(NOW, noise=0.02, alike_when_full=True)
    server.dice.seed(seed)
    found, now, _ = await swept(server)
    assert found.candidate == replace(NOW, queue_delay_us=0)
    assert clearly_better(found, now, NO_LIMIT_MS)
    assert not clearly_better(now, found, NO_LIMIT_MS)


def test_no_answer_is_soon_enough_for_less_throughput_or_for_none_in_time() -> None:
    more, sooner = at_two(NOW, 100, 200), at_two(ONE, 150, 190)
    assert not clearly_better(sooner, more, NO_LIMIT_MS)
    assert champion([sooner, more], more, NO_LIMIT_MS) is more
    assert not clearly_better(at_two(ONE, 150, 200), more, limit_ms=1.0)


def at_two(candidate: Candidate, alone_per_s: float, full_per_s: float) -> Standing:
    """Three trials alike, with one request on its way and with eight."""
    points = [
        LoadPoint(c, per_s, 1000 * c / per_s, 2000 * c / per_s)
        for c, per_s in ((1, alone_per_s), (8, full_per_s))
    ]
    return Standing(candidate, 3 * (Trial(candidate, Effort.LONG, tuple(points)),))


async def test_it_never_takes_longer_than_it_said() -> None:
    said: list[tuple[int, int]] = []
    search = Search(space(), NOW, ScriptedServer(Candidate(1, 1, 0, 2)).measure, NO_LIMIT_MS)
    search.on_plan = lambda left: said.append((len(search.trials), left))
    await search.run()
    total = len(search.trials)
    assert all(done + left >= total for done, left in said)
    assert said[-1] == (total, 0)


def test_what_is_given_is_tried_instead_of_the_usual_and_the_present_is_among_it() -> None:
    around = Space.around(NOW, ONE, cores=2, given={"max_batch": (3,), "threads": (1,)})
    assert around.max_batch == (3, 8)
    assert around.threads == (1,)


def test_with_a_queue_policy_one_instance_is_not_tried_and_refused_where_it_is_given() -> None:
    least = Candidate(2, 1, 0, 1)
    assert min(Space.around(NOW, least, cores=2, given={}).instances) == 2
    with pytest.raises(SettingsError, match=r"instances 1.*needs 2 or more"):
        Space.around(NOW, least, cores=2, given={"instances": (1, 2)})


async def test_short_trials_sort_out_and_long_ones_decide() -> None:
    server = ScriptedServer(Candidate(4, 4, 500, 1))
    found, _, search = await swept(server)
    efforts = [trial.effort for trial in search.trials]
    assert efforts.index(Effort.LONG) > len(space().coarse()) // 2
    assert all(trial.effort is Effort.LONG for trial in found.trials)

"""A sweep that was interrupted goes on where it was, and never takes another's trials for its own."""

from pathlib import Path

import pytest

from orchestrator.errors import ServerError, SettingsError
from orchestrator.tuning.candidate import Candidate, Space
from orchestrator.tuning.journal import Journal
from orchestrator.tuning.search import Search
from orchestrator.tuning.trial import Effort, Trial
from tests.tuning.scripted import NOW, ONE, ScriptedServer

IDENTITY = {"model": "abc", "cores": 2}


async def sweep(folder: Path, server: ScriptedServer, *, stop_after: int = 10**6) -> Candidate:
    async def measure(candidate: Candidate, effort: Effort) -> Trial:
        if len(server.seen) == stop_after:
            raise KeyboardInterrupt
        return await server.measure(candidate, effort)

    space = Space.around(NOW, ONE, cores=2, given={})
    journal = Journal(folder, IDENTITY)
    best, _ = await Search(space, NOW, journal.remembering(measure), 1000.0).run()
    return best.candidate


@pytest.mark.parametrize("after", [1, 9, 25])
async def test_what_was_measured_is_not_measured_again_and_the_result_is_the_same(
    tmp_path: Path, after: int
) -> None:
    whole = ScriptedServer(Candidate(4, 4, 500, 1), noise=0.02)
    expected = await sweep(tmp_path / "whole", whole)
    server = ScriptedServer(Candidate(4, 4, 500, 1), noise=0.02)
    with pytest.raises(KeyboardInterrupt):
        await sweep(tmp_path / "parts", server, stop_after=after)
    assert await sweep(tmp_path / "parts", server) == expected
    assert server.seen == whole.seen


async def test_a_finished_sweep_is_told_again_without_measuring(tmp_path: Path) -> None:
    first = await sweep(tmp_path, ScriptedServer(Candidate(4, 4, 500, 1), noise=0.02))
    idle = ScriptedServer(NOW)
    assert await sweep(tmp_path, idle) == first
    assert idle.seen == []


def test_another_model_or_machine_has_a_file_of_its_own(tmp_path: Path) -> None:
    Journal(tmp_path, IDENTITY).add(Trial(NOW, Effort.LONG, failure="gone"))
    assert len(Journal(tmp_path, IDENTITY).trials) == 1
    assert Journal(tmp_path, {**IDENTITY, "cores": 4}).trials == []


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, IDENTITY)
    journal.add(Trial(NOW, Effort.LONG, failure="gone"))
    with journal.path.open("a") as file:
        file.write('{"candidate": {"inst')
    assert [trial.failure for trial in Journal(tmp_path, IDENTITY).trials] == ["gone"]


def test_what_is_forgotten_is_measured_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path, IDENTITY)
    journal.add(Trial(NOW, Effort.LONG))
    journal.forget()
    assert Journal(tmp_path, IDENTITY).trials == []


async def test_what_did_not_run_is_tried_again_the_next_time(tmp_path: Path) -> None:
    with pytest.raises(ServerError):
        await sweep(tmp_path, ScriptedServer(NOW, most_batch=4))
    assert await sweep(tmp_path, ScriptedServer(NOW)) == NOW


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        Journal(tmp_path / "file" / "below", IDENTITY)

"""Ctrl-C ends a command with a line that says what was done and what was not, exit status 130, and no traceback."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer

from orchestrator.cli.interruption import some, told_when_interrupted
from orchestrator.cli.start import main
from tests.cli.conftest import Fess, Said
from tests.servers.synthetic import make_clip


async def ctrl_c(*_: object, **__: object) -> None:
    """What a command waits for when somebody presses the keys."""
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(30)


def line(said: Said) -> str:
    assert said.code == 130
    assert "Traceback" not in said.err + said.out
    return said.err.strip().splitlines()[-1]


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, asyncio.CancelledError])
def test_what_was_interrupted_goes_on_ending_once_it_has_said_how_far_it_was(
    stopped: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(stopped), told_when_interrupted(lambda: "done: [a]"):
        raise stopped
    assert capsys.readouterr().err == "interrupted: done: [a]\n"


def test_ctrl_c_at_a_question_is_an_interruption_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, told_when_interrupted(lambda: "nothing was done"):
        raise typer.Abort
    assert ended.value.exit_code == 130
    assert "nothing was done" in capsys.readouterr().err


def test_of_many_names_the_first_are_told_and_how_many_more() -> None:
    assert some([]) == "none"
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefgh")) == "a, b, c, d, e and 3 more"


def test_an_import_says_who_is_enrolled_who_was_refused_and_who_is_left(
    fess: Fess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Ada", "Ben", "Cleo", "Dan"):
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "people" / name / "1.jpg").touch()

    @asynccontextmanager
    async def open_services(*_: object, **__: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(model=open_services)

    async def enrol(_services: object, _model: object, name: str, *_: object) -> bool:
        if name == "Cleo":
            await ctrl_c()
        return name != "Ben"

    monkeypatch.setenv("TRITON_URL", "127.0.0.1:9")
    monkeypatch.setattr("orchestrator.cli.enrolling.open_services", open_services)
    monkeypatch.setattr("orchestrator.cli.enrolling._enrol", enrol)
    said = fess("faces", "import", "people")
    assert line(said) == "interrupted: enrolled: Ada; refused: Ben; not enrolled yet: Cleo, Dan"


def test_an_enrolment_whose_servers_are_still_starting_says_that_nobody_is_enrolled(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def open_services(*_: object, **__: object) -> AsyncIterator[None]:
        await ctrl_c()
        yield

    monkeypatch.setenv("TRITON_URL", "127.0.0.1:9")
    monkeypatch.setattr("orchestrator.cli.enrolling.open_services", open_services)
    said = fess("faces", "enrol", "Ann", "ann.jpg")
    assert line(said) == "interrupted: enrolled: none; refused: none; not enrolled yet: Ann"


def test_a_fetch_says_what_is_whole_and_what_is_not(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.models.ensure_models", ctrl_c)
    said = fess("models", "fetch", "--clips")
    assert line(said).startswith("interrupted: done: none; not done: rtmdet_nano_person_320, ")
    assert line(said).endswith(" more; the same command goes on where it broke off")


def test_preparing_says_what_is_whole_and_what_is_not(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.models._prepared", interrupted)
    said = fess("models", "prepare")
    assert line(said).startswith("interrupted: done: none; not done: rtmdet_nano_person_320, ")


def test_a_replay_says_which_files_were_not_written(
    fess: Fess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=2)
    monkeypatch.setattr("orchestrator.cli.replay.ensure_models", ctrl_c)
    said = fess("replay", "clip.mp4", "--events", "events.jsonl", "--video", "out.mp4")
    assert line(said) == (
        "interrupted: the clip was not taken to its end; not written: events.jsonl, out.mp4"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


class PressedWhileLoading(MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "orchestrator.cli.main":
            raise KeyboardInterrupt


@pytest.fixture
def pressed_while_loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    loaded: ModuleType = sys.modules["orchestrator.cli.main"]
    monkeypatch.delitem(sys.modules, "orchestrator.cli.main")
    monkeypatch.setattr(sys, "meta_path", [PressedWhileLoading(), *sys.meta_path])
    yield
    sys.modules["orchestrator.cli.main"] = loaded


@pytest.mark.usefixtures("pressed_while_loading")
def test_while_the_command_is_still_being_loaded_it_ends_quietly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""

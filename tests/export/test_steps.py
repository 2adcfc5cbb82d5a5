"""Steps: what is done is not done again, unless what went in or what came out is another."""

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from export.steps import Steps
from orchestrator.errors import ModelError

INPUTS = {"lock": "a"}


class Copying:
    """One step that writes a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = io.StringIO()
        self.times = 0

    def carry_out(self, inputs: Mapping[str, str] = INPUTS) -> bool:
        steps = Steps(self.folder, Console(file=self.said))
        return steps.carry_out("copying", inputs, [self.folder / "copy"], self._work)

    def _work(self) -> None:
        self.times += 1
        (self.folder / "copy").write_text("copied")


@pytest.fixture
def step(tmp_path: Path) -> Copying:
    return Copying(tmp_path)


def test_a_step_is_done_once(step: Copying) -> None:
    assert [step.carry_out(), step.carry_out()] == [True, False]
    assert step.times == 1
    assert "copying: done before" in step.said.getvalue()


def test_other_inputs_do_it_again(step: Copying) -> None:
    step.carry_out()
    assert step.carry_out({"lock": "b"})
    assert step.carry_out({"lock": "b", "more": "c"})


def test_a_lost_result_does_it_again(step: Copying) -> None:
    step.carry_out()
    (step.folder / "copy").unlink()
    assert step.carry_out()


def test_a_changed_result_does_it_again(step: Copying) -> None:
    step.carry_out()
    (step.folder / "copy").write_text("tampered with")
    assert step.carry_out()
    assert (step.folder / "copy").read_text() == "copied"


def test_a_damaged_note_does_it_again(step: Copying) -> None:
    step.carry_out()
    (step.folder / ".copying.done.json").write_bytes(b"{")
    assert step.carry_out()


def test_a_step_that_failed_is_not_taken_for_done(tmp_path: Path) -> None:
    def fail() -> None:
        raise ModelError("no")

    steps = Steps(tmp_path, Console(file=io.StringIO()))
    for _ in range(2):
        with pytest.raises(ModelError, match="no"):
            steps.carry_out("failing", {}, [], fail)


def test_a_step_that_fails_the_second_time_is_not_taken_for_done(step: Copying) -> None:
    step.carry_out()

    def fail() -> None:
        raise ModelError("no")

    steps = Steps(step.folder, Console(file=io.StringIO()))
    with pytest.raises(ModelError):
        steps.carry_out("copying", {"lock": "b"}, [step.folder / "copy"], fail)
    assert step.carry_out()

"""The generated reference: it is what the models say, and what it shows can be used as it stands."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.configuring import reference
from orchestrator.configuring.cameras_file import load_cameras
from orchestrator.configuring.variables import LOADER_VARIABLES, Variable, variables_of
from orchestrator.settings import Settings, load

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment in which nothing is set."""
    monkeypatch.chdir(tmp_path)
    for variable in variables_of(Settings):
        monkeypatch.delenv(variable.name, raising=False)
    for name in LOADER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("path", sorted(reference.documents()), ids=str)
def test_a_generated_file_is_what_the_models_say(path: Path) -> None:
    written = (ROOT / path).read_text(encoding="utf-8")
    assert written == reference.documents()[path], (
        "run python -m orchestrator.configuring.reference --write"
    )


@pytest.mark.parametrize("variable", variables_of(Settings), ids=lambda each: each.name)
def test_every_setting_says_what_it_means(variable: Variable) -> None:
    assert variable.field.description
    assert variable.field.description.endswith(".")


def test_the_yaml_example_is_a_configuration_that_changes_nothing(machine: Path) -> None:
    assert load(ROOT / "fess.example.yaml") == Settings()


def test_the_env_example_changes_nothing_even_when_every_line_is_in_use(machine: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    used = "\n".join(
        line.removeprefix("#") for line in example.splitlines() if not line.startswith("# ")
    )
    (machine / ".env").write_text(used)
    assert load() == Settings()
    assert used.count("=") == len(variables_of(Settings))


def test_the_example_of_cameras_is_a_file_of_cameras() -> None:
    cameras = load_cameras(ROOT / "cameras.example.yaml")
    assert [camera.camera_id for camera in cameras] == ["lobby", "yard", "desk", "clip"]


def test_the_command_writes_then_agrees_then_notices_a_drift(tmp_path: Path) -> None:
    command = typer.Typer()
    command.command()(reference.main)

    def run(option: str) -> int:
        return CliRunner().invoke(command, [option, "--folder", str(tmp_path)]).exit_code

    assert (run("--check"), run("--write"), run("--check")) == (1, 0, 0)
    (tmp_path / ".env.example").write_text("REDIS_PORT=1\n")
    assert run("--check") == 1

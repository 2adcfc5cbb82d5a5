"""The `fess` command: it teaches, and what goes wrong is one line with its mend, not a traceback."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from export.manifest import load
from orchestrator.cli.main import app
from orchestrator.demo import CAST, SCENES
from orchestrator.embedded.claim import watching_alone
from tests.cli.conftest import Fess
from tests.servers.synthetic import make_clip

SECRET = "hunter2secret"
COMMANDS = {
    command.name or (command.callback.__name__ if command.callback else "")
    for command in app.registered_commands
    if not command.hidden
} | {group.name or "" for group in app.registered_groups}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_help_says_how_to_begin_and_what_each_command_does(fess: Fess) -> None:
    said = fess("--help")
    assert said.code == 0
    for step in ("fess demo", "fess cameras add", "fess faces enrol", "fess check", "fess run"):
        assert step in said.out
    lines = said.out.splitlines()
    for command in COMMANDS:
        (line,) = [line for line in lines if line.strip(" │").startswith(f"{command} ")]
        assert len(line.strip(" │").split(maxsplit=1)[1]) > 10


def test_without_a_command_it_teaches(fess: Fess) -> None:
    assert "fess demo" in fess().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_and_its_options(fess: Fess, command: str) -> None:
    said = fess(command, "--help")
    assert said.code == 0
    assert "Usage: fess" in said.out
    options = [line.strip(" │") for line in said.out.splitlines() if line.strip(" │*")[:2] == "--"]
    assert options
    assert all(len(option.split()) > 2 for option in options)


def test_what_starts_the_workers_is_not_for_people(fess: Fess) -> None:
    assert "worker " not in fess("--help").out.replace("workers", "")


def test_version_is_the_installed_one(fess: Fess) -> None:
    said = fess("version")
    assert (said.code, said.out) == (0, f"{version('fess')}\n")


def test_a_command_that_does_not_exist_is_a_usage_error(fess: Fess) -> None:
    said = fess("wach")
    assert said.code == 2
    assert "wach" in said.err
    assert "Traceback" not in said.err


def test_every_mistake_in_the_settings_is_told_at_once(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PORT", "many")
    monkeypatch.setenv("TRITON_TIMEOUT", "-1")
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    said = fess("status")
    assert said.code == 1
    assert "REDIS_PORT" in said.err
    assert "TRITON_TIMEOUT" in said.err
    assert "Traceback" not in said.err
    assert SECRET not in said.err + said.out


def test_a_configuration_file_that_is_not_there_is_told(fess: Fess) -> None:
    said = fess("run", "--config", "elsewhere.yaml")
    assert said.is_one_plain_error, said
    assert "elsewhere.yaml" in said.err


def test_run_without_cameras_says_how_to_add_one_before_anything_is_fetched(
    fess: Fess, tmp_path: Path
) -> None:
    said = fess("run")
    assert said.is_one_plain_error, said
    assert "fess cameras add" in said.err
    assert list(tmp_path.iterdir()) == []


def test_run_in_a_folder_where_another_watches_says_which_process_and_what_to_do(
    fess: Fess, tmp_path: Path
) -> None:
    (tmp_path / "cameras.yaml").write_text("cameras: {door: {url: x.mp4}}")
    with watching_alone(tmp_path / ".fess"):
        said = fess("run")
    assert said.is_one_plain_error, said
    assert f"in use by process {os.getpid()}, which watches cameras from there: stop it" in said.err
    assert "STATE_DIR" in said.err
    assert "HTTP_PORT" in said.err


def test_the_demo_tells_of_models_and_clips_at_once_what_is_missing(
    fess: Fess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FESS_MODELS_MIRROR", "empty")
    monkeypatch.setenv("FESS_VIDEOS_MIRROR", "empty")
    said = fess("demo")
    assert said.code == 1
    assert "Traceback" not in said.err
    clips = {role.clip for role in CAST} | {scene.clip for scene in SCENES}
    for missing in {model.file for model in load().defaults()} | clips:
        assert f"{missing}: mirror empty: its SHA256SUMS cannot be read" in said.err
    assert said.err.count("set FESS_MODELS_MIRROR") == said.err.count("set FESS_VIDEOS_MIRROR") == 1


def test_whoever_is_enrolled_first_of_all_has_the_models_fetched_for_it(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FESS_MODELS_MIRROR", "empty")
    said = fess("faces", "enrol", "Ann", "ann.jpg")
    assert said.code == 1
    for model in load().defaults():
        assert f"{model.file}: mirror empty" in said.err
    assert "set FESS_MODELS_MIRROR" in said.err


def test_in_production_all_that_is_said_is_json_from_the_first_fetch_to_the_last_error(
    fess: Fess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cameras.yaml").write_text("cameras: {door: {url: x.mp4}}")
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("FESS_MODELS_MIRROR", "[empty]")
    said = fess("run")
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert any("licence Apache-2.0" in line["message"] for line in lines)
    assert said.code == 1
    assert (lines[-1]["level"], lines[-1]["error"]) == ("CRITICAL", "ModelError")
    assert "mirror [empty]" in lines[-1]["message"]


def test_in_production_a_mistake_in_the_settings_is_json_too(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("REDIS_PORT", "many")
    (line,) = fess("run").err.splitlines()
    assert "REDIS_PORT" in json.loads(line)["message"]


@pytest.mark.parametrize("command", ["run", "demo"])
def test_that_a_port_is_taken_is_told_before_anything_is_fetched_or_started(
    fess: Fess, tmp_path: Path, taken_port: int, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cameras.yaml").write_text(
        f"cameras: {{door: {{url: 'rtsp://admin:{SECRET}@127.0.0.1:9/x'}}}}"
    )
    monkeypatch.setenv("FESS_MODELS_MIRROR", "empty")
    monkeypatch.setenv("FESS_VIDEOS_MIRROR", "empty")
    said = fess(command, "--port", str(taken_port))
    assert said.is_one_plain_error, said
    assert f"127.0.0.1:{taken_port} is in use by another program: set HTTP_PORT" in said.err
    assert "Traceback" not in said.err
    assert SECRET not in said.err + said.out


def test_workers_are_started_by_the_supervisor_only() -> None:
    command = [sys.executable, "-m", "orchestrator.cli.main", "worker"]
    ended = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert b"fess run --workers N" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_clip_that_is_not_there_is_a_usage_error(fess: Fess) -> None:
    said = fess("replay", "nowhere.mp4")
    assert said.code == 2
    assert "nowhere.mp4" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "content", [b"", b"this is no video\n" * 100, bytes(range(256)) * 64], ids=len
)
def test_a_clip_that_is_no_video_is_told_before_anything_is_started(
    fess: Fess, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    said = fess("replay", "clip.mp4", "--events", "events.jsonl")
    assert said.is_one_plain_error, said
    assert "clip.mp4" in said.err
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]
    assert said.out == ""


def test_events_that_cannot_be_written_are_told_before_anything_is_started(
    fess: Fess, tmp_path: Path
) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=2)
    said = fess("replay", "clip.mp4", "--events", "no such folder/events.jsonl")
    assert said.is_one_plain_error, said
    assert "no such folder" in said.err


def test_a_camera_name_that_cannot_be_one_is_told_with_the_rule(fess: Fess, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", pictures=2)
    said = fess("replay", "clip.mp4", "--camera-id", "../door")
    assert said.is_one_plain_error, said
    assert "begin with a letter or digit" in said.err


def test_check_points_at_what_is_misspelt_in_the_environment_and_in_the_file_for_it(
    fess: Fess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("LOG_LEVL=DEBUG\nSHELL_HISTORY=/x\nexport HTTP_PORT=0\n")
    monkeypatch.setenv("REDIS_PASWORD", "hunter2-is-secret")
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", "9")
    said = fess("check")
    assert said.code == 1  # there are neither models nor cameras here
    assert "did you mean LOG_LEVEL?" in said.out
    assert "did you mean REDIS_PASSWORD?" in said.out
    assert "SHELL_HISTORY" not in said.out
    assert "hunter2" not in said.out + said.err


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hiding it behind a friendly line would make it hard to report.
    broken = typer.Typer()

    @broken.command()
    def run() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("orchestrator.cli.main.app", broken)
    monkeypatch.setattr(sys, "argv", ["fess"])
    from orchestrator.cli.main import main

    with pytest.raises(ZeroDivisionError):
        main()

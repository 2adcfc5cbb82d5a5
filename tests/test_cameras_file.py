"""cameras.yaml and `fess cameras`: every mistake at once, never half written, and no password shown."""

import json
import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from orchestrator.camera import Camera
from orchestrator.cli.cameras import app
from orchestrator.configuring.cameras_file import load_cameras, save_cameras
from orchestrator.errors import SettingsError

PASSWORD = "hunter2-is-secret"
ADDRESS = f"rtsp://viewer:{PASSWORD}@10.0.0.7/stream?token={PASSWORD}"
TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cameras.yaml"


def complaint(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_cameras(file)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def test_cameras_are_read_in_the_order_of_the_file(file: Path) -> None:
    file.write_text(
        "cameras:\n  yard: {url: yard.mp4, loop: true}\n  007: {url: /dev/video0, fps: 2}\n"
        "  lobby:\n    url: rtsp://10.0.0.7/stream\n    regions: [[[0, 0], [1, 0], [0.5, 1]]]\n"
    )
    yard, seven, lobby = load_cameras(file)
    assert (yard.camera_id, yard.loop) == ("yard", True)
    assert (seven.camera_id, seven.fps) == ("007", 2.0)
    assert lobby.regions == (TRIANGLE,)


@pytest.mark.parametrize("text", ["", "cameras:\n", "cameras: {}\n", "# none\n"])
def test_a_file_without_cameras_is_no_mistake(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_cameras(file) == ()


def test_a_missing_file_is_told_with_the_command_that_makes_it(file: Path) -> None:
    with pytest.raises(SettingsError, match="fess cameras add"):
        load_cameras(file)


def test_every_mistake_is_told_at_once_with_its_line(file: Path) -> None:
    told = complaint(
        file,
        f"""\
cameras:
  lobby:
    url: {ADDRESS}
    fsp: 5
    fps: 0
  lobby:
    url: twice.mp4
  "front door":
    url: a.mp4
  gate:
    url: ftp://viewer:{PASSWORD}@host/x
    transport: pigeon
  yard:
    fps: 2
    regions: [[[0, 0], [1, 0]], [[0, 0], [1, 0], [2, 1]]]
  attic: rtsp://viewer:{PASSWORD}@host/y
  cellar: {{url: "rtsp:///no-host"}}
camera: {{}}
""",
    )
    for line, expected in [
        (4, "lobby: fsp is not a setting of a camera; did you mean fps?"),
        (5, 'lobby: "0" as fps is not a number above 0 up to 120'),
        (6, "lobby is given twice, first in line 2"),
        (8, '"front door" cannot be a camera\'s name; begin with a letter or digit'),
        (12, 'gate: "pigeon" as transport is not tcp or udp'),
        (13, "yard: url is missing; say where the video comes from"),
        (15, "yard: regions[0] is wrong; a polygon is three or more points"),
        (15, "yard: regions[1][2][0] is wrong; a polygon"),
        (16, "attic has no settings; write `url: ...` below it"),
        (17, "cellar: the address names no host"),
        (18, "camera is not known here; did you mean cameras?"),
    ]:
        assert f"{file}, line {line}: {expected}" in told


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"ftp://viewer:{PASSWORD}@host/x", '"ftp" is not an address a camera can have'),
        (f"rtsp://viewer:{PASSWORD}@host:port/x", "the address is not a URL"),
        (f"rtsp://viewer:{PASSWORD}@[host/x", "the address is not a URL"),
        (f"rtsp://viewer:{PASSWORD}/1@host/x", "in a password write @ as %40"),
        (f"rtsp://viewer:{PASSWORD}@#1@host/x", "in a password write @ as %40"),
        (f"rtsp://viewer:{PASSWORD} 1@host/x", "a space as %20"),
        (f"viewer:{PASSWORD}@host/x", '"viewer" is not an address a camera can have'),
        (" ", "the address is empty"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_unseen(
    file: Path, url: str, expected: str
) -> None:
    assert expected in complaint(file, f"cameras: {{lobby: {{url: '{url}'}}}}")


def test_what_is_saved_is_read_back(file: Path) -> None:
    cameras = (
        Camera(camera_id="lobby", url=SecretStr(ADDRESS), regions=(TRIANGLE,), fps=2.5),
        Camera(camera_id="yes", url=SecretStr("clip.mp4"), pace="fast", enabled=False),
    )
    save_cameras(file, cameras)
    assert load_cameras(file) == cameras


def test_the_file_is_readable_by_its_owner_only(file: Path) -> None:
    file.write_text("cameras: {}")
    file.chmod(0o644)
    save_cameras(file, [Camera(camera_id="lobby", url=SecretStr(ADDRESS))])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_former_file_and_nothing_beside_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("cameras: {}")

    def disk_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(
        SettingsError, match="No space left on device; the former file is unchanged"
    ):
        save_cameras(file, [Camera(camera_id="lobby", url=SecretStr(ADDRESS))])
    assert file.read_text() == "cameras: {}"
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "real.yaml"
    file.symlink_to(target)
    save_cameras(file, [Camera(camera_id="lobby", url=SecretStr("clip.mp4"))])
    assert file.is_symlink()
    assert len(load_cameras(target)) == 1


def fess_cameras(file: Path, *arguments: str, typed: str | None = None) -> str:
    result = CliRunner().invoke(app, [*arguments, "--file", str(file)], input=typed)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    return result.output


def test_a_camera_is_added_listed_shown_changed_and_removed(file: Path) -> None:
    added = fess_cameras(file, "add", "lobby", ADDRESS, "--fps", "2", "--region", "0,0 1,0 0.5,1")
    assert "takes it up by itself" in added
    assert "rtsp://10.0.0.7/stream" in fess_cameras(file, "list")
    assert json.loads(fess_cameras(file, "list", "--json"))[0]["camera_id"] == "lobby"

    fess_cameras(file, "change", "lobby", "--disable", "--transport", "udp")
    shown = json.loads(fess_cameras(file, "show", "lobby"))
    assert (shown["enabled"], shown["transport"], shown["fps"]) == (False, "udp", 2.0)
    assert load_cameras(file)[0].url.get_secret_value() == ADDRESS

    fess_cameras(file, "change", "lobby", "--region", "none")
    assert load_cameras(file)[0].regions == ()
    fess_cameras(file, "remove", "lobby")
    assert load_cameras(file) == ()


def test_an_address_can_be_typed_where_the_shell_does_not_keep_it(file: Path) -> None:
    fess_cameras(file, "add", "lobby", "-", typed=f"{ADDRESS}\n")
    assert load_cameras(file)[0].url.get_secret_value() == ADDRESS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["add", "lobby", "clip.mp4"], "lobby is there already"),
        (["add", "front door", "clip.mp4"], "cannot be a camera's name"),
        (["add", "yard", f"ftp://viewer:{PASSWORD}@host"], "not an address a camera can have"),
        (["add", "yard", "clip.mp4", "--region", "0,0 1,1"], "regions: "),
        (["add", "yard", "clip.mp4", "--fps", "0"], "fps: "),
        (["change", "lobby"], "nothing to change"),
        (["change", "yard", "--fps", "1"], "there is no camera yard; there are: lobby"),
        (["remove", "yard"], "there is no camera yard"),
        (["show", "yard"], "there is no camera yard"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_and_changes_nothing(
    file: Path, arguments: list[str], expected: str
) -> None:
    save_cameras(file, [Camera(camera_id="lobby", url=SecretStr(ADDRESS))])
    before = file.read_bytes()
    with pytest.raises(SettingsError) as refused:
        fess_cameras(file, *arguments)
    assert expected in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert file.read_bytes() == before


def test_the_file_is_the_one_that_the_settings_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERAS_FILE", str(file))
    result = CliRunner().invoke(app, ["add", "lobby", "clip.mp4"])
    assert result.exit_code == 0
    assert [camera.camera_id for camera in load_cameras(file)] == ["lobby"]

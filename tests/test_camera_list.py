"""cameras.yaml while running: each change is taken up, a mistake in it changes nothing."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.camera_list import follow_cameras
from orchestrator.errors import SettingsError

PASSWORD = "hunter2secret"

Step = Callable[[], object]


class ScriptEnded(Exception):
    """Nothing more is done to the file."""


def write(path: Path, *names: str) -> None:
    lines = [f"  {name}: {{url: 'rtsp://admin:{PASSWORD}@10.0.0.7/{name}'}}\n" for name in names]
    part = path.with_suffix(".new")
    part.write_text("cameras:\n" + "".join(lines))
    part.replace(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    write(path, "lobby")
    return path


async def lists(path: Path, *steps: Step) -> list[list[str]]:
    """The names in each list that is given out while the steps are taken, one between two looks."""
    script = iter(steps)

    async def step(_seconds: float) -> None:
        action = next(script, None)
        if action is None:
            raise ScriptEnded
        action()

    given: list[list[str]] = []
    with suppress(ScriptEnded):
        async for cameras in follow_cameras(path, sleep=step):
            given.append([camera.camera_id for camera in cameras])
    return given


async def test_the_list_is_given_at_once_and_after_each_change(file: Path) -> None:
    given = await lists(
        file, lambda: write(file, "lobby", "gate"), lambda: None, lambda: write(file)
    )
    assert given == [["lobby"], ["lobby", "gate"], []]


async def test_a_file_that_is_written_in_place_is_taken_up_too(file: Path) -> None:
    given = await lists(file, lambda: file.write_text("cameras: {yard: {url: yard.mp4}}"))
    assert given == [["lobby"], ["yard"]]


async def test_a_mistake_is_told_once_without_the_password_and_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil() -> None:
        file.write_text(file.read_text().replace("url", "urll"))

    with caplog.at_level(logging.ERROR):
        given = await lists(file, spoil, lambda: None, lambda: write(file, "gate"))
    assert given == [["lobby"], ["gate"]]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the cameras stay as they were" in caplog.text
    assert PASSWORD not in caplog.text


async def test_a_file_that_is_removed_changes_nothing_until_it_is_back(file: Path) -> None:
    given = await lists(file, file.unlink, lambda: None, lambda: write(file, "gate"))
    assert given == [["lobby"], ["gate"]]


async def test_a_file_that_cannot_be_read_changes_nothing(file: Path) -> None:
    def scramble() -> None:
        file.write_bytes(b"cameras: \xff\xfe{")

    def become_a_folder() -> None:
        file.unlink()
        file.mkdir()

    given = await lists(file, scramble, become_a_folder, file.rmdir, lambda: write(file, "gate"))
    assert given == [["lobby"], ["gate"]]


async def test_a_mistake_at_the_start_is_the_operators(file: Path) -> None:
    file.write_text("cameras: 7")
    with pytest.raises(SettingsError, match="cameras"):
        await anext(follow_cameras(file))

"""What Triton's log says of a folder that it cannot read, and whether that still holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.embedded.triton_log import unread, unread_now

LINE = (
    'E1120 20:18:44.773862 30747 model_repository_manager.cc:1460] "Poll failed for model directory '
    "'object_detector': failed to stat file models/object_detector/notes\"\n"
)
WHOLE = (
    "E1120 20:19:58.925304 987 model_repository_manager.cc:1303] \"failed to poll model repository 'models': "
    'failed to stat file models/other"\n'
)
OTHER = 'I1120 20:18:44.773862 30747 server.cc:631] "Poll failed for nobody"\n'


def at(seconds: float) -> datetime:
    return datetime(2026, 11, 20, 20, 18, 44, tzinfo=UTC) + timedelta(seconds=seconds)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "triton.log"
    path.write_text(OTHER + LINE + OTHER)
    return path


def test_a_line_of_the_log_is_understood() -> None:
    assert unread(LINE) == "object_detector: failed to stat file models/object_detector/notes"
    assert unread(WHOLE) == "models: failed to stat file models/other"
    assert unread(OTHER) is None


def test_it_is_told_of_the_model_while_triton_says_it_again_and_again(log: Path) -> None:
    why = "failed to stat file models/object_detector/notes"
    assert unread_now(log, "object_detector", "models", at(2)) == why
    assert unread_now(log, "face_detector", "models", at(2)) is None
    assert unread_now(log, "object_detector", "models", at(30)) is None


def test_a_repository_that_cannot_be_read_is_every_models_trouble(log: Path) -> None:
    log.write_text(LINE + WHOLE)
    assert unread_now(log, "face_detector", "models", at(76)) == "failed to stat file models/other"


def test_no_log_tells_nothing(tmp_path: Path) -> None:
    assert unread_now(tmp_path / "gone.log", "object_detector", "models") is None

"""The log of an embedded server: what is kept of it, and what is told of it when a start fails."""

from pathlib import Path

from orchestrator.embedded.logfile import LogFile


def test_the_last_runs_log_is_kept_and_the_one_before_it_is_not(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "triton.log")
    for run in ("first", "second", "third"):
        log.begin()
        log.path.write_text(run)
    assert {file.name: file.read_text() for file in log.path.parent.iterdir()} == {
        "triton.log": "third",
        "triton.log.1": "second",
    }


def test_new_lines_come_once_and_whole(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "triton.log")
    assert log.new_lines() == []
    with log.path.open("w") as file:
        file.write("loading\nsuccess")
        file.flush()
        assert log.new_lines() == ["loading"]
        file.write("fully loaded\n")
        file.flush()
        assert log.new_lines() == ["successfully loaded"]
        assert log.new_lines() == []


def test_lines_of_trouble_are_told_before_others(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "triton.log")
    log.path.write_text(
        "I1120 loading\nE1120 08:06:49.7 1 main.cc:642] bad port\nI1120 bye\n+---+\n"
    )
    assert log.trouble() == "E1120 08:06:49.7 1 main.cc:642] bad port"


def test_without_trouble_the_last_lines_are_told(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "triton.log")
    log.path.write_text("one\ntwo\n\nthree\n")
    assert log.trouble(most=2) == "two\nthree"


def test_a_log_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert LogFile(tmp_path / "triton.log").trouble() == ""

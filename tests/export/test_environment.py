"""The export environment: locked with hashes, apart from the runtime, and refused early where it cannot be."""

import io
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from export.alone import alone
from export.command import Command, run
from export.environment import BUILT_AGAINST, LOCK, Environment, sections_of, set_up
from orchestrator.errors import ModelError

SECTIONS = sections_of(LOCK.read_text(encoding="utf-8"))


def silent() -> Console:
    return Console(file=io.StringIO())


def test_every_package_of_the_lock_has_its_hashes() -> None:
    assert SECTIONS.keys() >= {"torch", "mmdet", "mmengine", "mmdeploy", *BUILT_AGAINST}
    for name, section in SECTIONS.items():
        assert re.match(rf"{re.escape(name)}==\S+ \\\n", section), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", section), name


def test_the_lock_names_no_registry() -> None:
    assert "http" not in LOCK.read_text(encoding="utf-8")


def test_what_the_lock_was_made_from_is_in_it() -> None:
    wanted = LOCK.with_suffix(".in").read_text(encoding="utf-8")
    names = re.findall(r"(?m)^([a-z][a-z0-9-]*)(?:==(\S+))?", wanted)
    for name, version in names:
        assert name in SECTIONS
        assert SECTIONS[name].startswith(f"{name}=={version}")


def test_without_a_lock_nothing_is_installed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lock\.txt: is not there"):
        set_up(Environment(tmp_path / "export", tmp_path / "lock.txt"), silent())
    assert not (tmp_path / "export" / "venv").exists()


def test_a_full_disk_is_told_before_anything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"1\.0 GB free, the export environment needs"):
        set_up(Environment(tmp_path / "export"), silent())
    assert not (tmp_path / "export" / "venv").exists()


def test_a_missing_compiler_is_told_before_anything_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="no C\\+\\+ compiler"):
        set_up(Environment(tmp_path / "export"), silent())


def command(tmp_path: Path, script: str, **more: int) -> Command:
    return Command("trying", ["/bin/sh", "-c", script], {}, tmp_path, tmp_path / "log.txt", **more)


def test_what_a_program_says_is_logged_and_its_failure_told_with_the_end_of_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match=r"(?s)trying failed with exit status 7.*too bad") as told:
        run(command(tmp_path, "seq 1000; echo too bad >&2; exit 7"), silent())
    assert len(str(told.value).splitlines()) < 20
    assert (tmp_path / "log.txt").read_text().startswith("1\n2\n")


def test_a_status_that_was_agreed_on_is_handed_back(tmp_path: Path) -> None:
    assert run(command(tmp_path, "exit 3", mendable=3), silent()) == 3
    assert run(command(tmp_path, "echo '[12/98] c++'; echo 'Collecting torch'"), silent()) == 0


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = Command("trying", ["/nowhere/python"], {}, tmp_path, tmp_path / "log.txt")
    with pytest.raises(ModelError, match="/nowhere/python cannot be run"):
        run(missing, silent())


def test_a_full_disk_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    full = replace(command(tmp_path, "echo words"), log=Path("/dev/full"))
    with pytest.raises(ModelError, match="/dev/full: cannot be written: No space left"):
        run(full, silent())


def test_a_program_that_is_left_behind_keeps_others_out(tmp_path: Path) -> None:
    with alone(tmp_path, silent()):
        run(command(tmp_path, "sleep 1 >log.txt 2>&1 &"), silent())
    said = Told()
    with alone(tmp_path, Console(file=said, width=200)):
        assert "waiting for another export" in said.getvalue()


class Told(io.StringIO):
    """Knows when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, words: str) -> int:
        count = super().write(words)
        self.written.set()
        return count


def test_a_second_export_says_that_it_waits_for_the_first(tmp_path: Path) -> None:
    said = Told()
    order: list[str] = []

    def second() -> None:
        with alone(tmp_path, Console(file=said, width=200)):
            order.append("second")

    waiting = threading.Thread(target=second)
    with alone(tmp_path, silent()):
        waiting.start()
        assert said.written.wait(30)
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]
    assert "waiting for another export" in said.getvalue()

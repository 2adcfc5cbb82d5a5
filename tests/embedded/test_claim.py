"""The claim: one process at a time keeps the server of a state folder, and says where it listens."""

import os
from pathlib import Path

import pytest

from orchestrator.embedded.claim import Claim, Endpoint, watching_alone
from orchestrator.errors import ServerError, SettingsError

ENDPOINT = Endpoint(pid=7, ports=(21000, 21001), password="secret", serving="/models")


def test_only_one_has_the_lock_until_it_lets_go(tmp_path: Path) -> None:
    first = Claim(tmp_path, "redis").take()
    assert first is not None
    assert Claim(tmp_path, "redis").take() is None
    os.close(first)
    second = Claim(tmp_path, "redis").take()
    assert second is not None
    os.close(second)


def test_servers_of_another_name_or_folder_are_not_concerned(tmp_path: Path) -> None:
    taken = [Claim(tmp_path, "redis").take(), Claim(tmp_path, "triton").take()]
    taken.append(Claim(tmp_path / "other", "redis").take())
    for fd in taken:
        assert fd is not None
        os.close(fd)


def test_what_was_written_is_read_back_and_only_the_user_may_read_it(tmp_path: Path) -> None:
    claim = Claim(tmp_path, "redis")
    claim.write(ENDPOINT)
    claim.write(ENDPOINT)
    assert claim.read() == ENDPOINT
    assert (tmp_path / "redis.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "ports": 3}'])
def test_a_record_that_makes_no_sense_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "redis.json").write_text(content)
    assert Claim(tmp_path, "redis").read() is None


def test_without_a_record_there_is_none(tmp_path: Path) -> None:
    assert Claim(tmp_path, "redis").read() is None


def test_a_state_folder_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"file/redis\.lock cannot be written: .*STATE_DIR"):
        Claim(tmp_path / "file", "redis").take()


def test_one_process_watches_from_a_folder_and_the_next_may_when_it_has_ended(
    tmp_path: Path,
) -> None:
    with watching_alone(tmp_path):
        with pytest.raises(SettingsError, match=f"in use by process {os.getpid()}, .*STATE_DIR"):
            watching_alone(tmp_path).__enter__()
        with watching_alone(tmp_path / "demo"):
            pass
    with watching_alone(tmp_path):
        pass

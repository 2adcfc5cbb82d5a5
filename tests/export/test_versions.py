"""Versions of a model: a new one lands whole, the old one stays, and the configuration says which is served."""

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no stubs
from tritonclient.grpc import model_config_pb2

from export import atomic, versions
from orchestrator.errors import ModelError

CONFIG = 'name: "object_detector"\nbackend: "onnxruntime"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Version 1, as `fess models prepare` leaves it."""
    folder = tmp_path / "object_detector"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"first")
    (folder / "1" / "provenance.json").write_bytes(b"{}")
    (folder / "config.pbtxt").write_text(CONFIG + "# tuned\n")
    return folder


def config(folder: Path) -> str:
    return (folder / "config.pbtxt").read_text()


def landed(folder: Path, content: bytes = b"second") -> int:
    number = versions.land(folder, {"model.onnx": content, "provenance.json": b"{}"})
    versions.serve(folder, number, CONFIG + "# second\n")
    return number


def test_without_a_word_in_the_configuration_the_newest_is_served(folder: Path) -> None:
    assert versions.served(folder) == 1
    (folder / "7").mkdir()
    assert versions.served(folder) == 1, "a folder without a model is none"
    (folder / "7" / "model.onnx").touch()
    assert versions.served(folder) == 7


def test_the_configuration_names_the_version_that_it_describes(folder: Path) -> None:
    assert landed(folder) == 2
    assert versions.served(folder) == 2
    parsed = text_format.Parse(config(folder), model_config_pb2.ModelConfig())
    assert list(parsed.version_policy.specific.versions) == [2]
    assert parsed.name == "object_detector"


def test_a_version_that_has_landed_is_not_served_before_it_is_told(folder: Path) -> None:
    assert versions.land(folder, {"model.onnx": b"second"}) == 2
    assert versions.served(folder) == 1
    assert "# tuned" in config(folder)


def test_pinning_twice_leaves_one_policy(folder: Path) -> None:
    text = versions.pinned(versions.pinned(CONFIG, 1), 22)
    assert text.count("version_policy") == 1
    assert "[ 22 ]" in text


def test_rolling_back_restores_the_configuration_as_it_was_tuned(folder: Path) -> None:
    landed(folder)
    assert versions.roll_back(folder) == (2, 1)
    assert versions.served(folder) == 1
    assert "# tuned" in config(folder)
    assert (folder / "1" / "model.onnx").read_bytes() == b"first"


def test_after_a_roll_back_the_newer_one_can_be_had_again(folder: Path) -> None:
    landed(folder)
    (folder / "config.pbtxt").write_text(config(folder) + "# tuned as well\n")
    versions.roll_back(folder)
    assert versions.roll_back(folder, to=2) == (1, 2)
    assert "# tuned as well" in config(folder)


def test_a_roll_back_goes_one_version_at_a_time(folder: Path) -> None:
    landed(folder)
    landed(folder, b"third")
    assert versions.roll_back(folder) == (3, 2)
    assert versions.roll_back(folder) == (2, 1)
    with pytest.raises(ModelError, match="no version before 1"):
        versions.roll_back(folder)


@pytest.mark.parametrize(
    ("to", "reason"), [(9, "no version 9"), (2, "served already"), (3, "no version 3")]
)
def test_a_roll_back_to_nowhere_is_refused_and_changes_nothing(
    folder: Path, to: int, reason: str
) -> None:
    landed(folder)
    (folder / "3").mkdir()
    before = config(folder)
    with pytest.raises(ModelError, match=reason):
        versions.roll_back(folder, to)
    assert config(folder) == before


def test_an_empty_folder_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="serves nothing"):
        versions.roll_back(tmp_path / "object_detector")


def test_the_first_version_of_an_empty_folder_is_1(tmp_path: Path) -> None:
    assert landed(tmp_path / "object_detector") == 1


def test_a_number_that_was_used_is_not_used_again(folder: Path) -> None:
    (folder / "5").mkdir()
    assert landed(folder) == 6


def test_a_failed_landing_leaves_nothing_behind(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ModelError, match="cannot be written"):
        versions.land(folder, {"model.onnx": b"x", "model.onnx/impossible": b"x"})
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_number_never_stands_for_other_weights(folder: Path) -> None:
    assert landed(folder) == 2
    versions.roll_back(folder)
    shutil.rmtree(folder / "2")
    assert landed(folder) == 3


def test_a_roll_back_goes_to_what_served_before_not_to_the_next_lower_number(folder: Path) -> None:
    landed(folder)
    landed(folder, b"third")
    versions.roll_back(folder, to=1)
    assert versions.served_before(folder) == 3
    assert versions.roll_back(folder) == (1, 3)
    assert versions.roll_back(folder) == (3, 2), "a step further back each time"
    versions.roll_back(folder, to=1)
    assert landed(folder, b"fourth") == 4
    assert versions.roll_back(folder) == (4, 1)


def test_what_nothing_vouches_for_did_not_serve_before(folder: Path) -> None:
    landed(folder)
    landed(folder, b"third")
    (folder / "2" / "provenance.json").unlink()
    assert versions.roll_back(folder) == (3, 1)


def test_what_was_taken_back_at_once_did_not_serve_before(folder: Path) -> None:
    landed(folder)
    landed(folder, b"refused by Triton")
    versions.roll_back(folder, to=2)
    assert versions.roll_back(folder) == (2, 1)


@pytest.mark.parametrize("lost", ["the record", "its words", "the version"])
def test_where_nothing_is_known_a_roll_back_goes_to_the_next_lower(folder: Path, lost: str) -> None:
    landed(folder)
    landed(folder, b"third")
    versions.roll_back(folder, to=1)
    versions.roll_back(folder, to=3)
    versions.roll_back(folder, to=2)
    match lost:
        case "the record":
            (folder / versions.SERVED).unlink()
        case "its words":
            (folder / versions.SERVED).write_text("\x00 three")
        case "the version":
            (folder / "3" / "model.onnx").unlink()
            (folder / versions.SERVED).write_text("3 2")
    assert versions.roll_back(folder) == (2, 1)


@pytest.mark.parametrize(("named", "before"), [(1, 3), (2, 1)], ids=["onward", "a step back"])
def test_a_version_that_was_named_by_hand_is_a_step_on_the_way_too(
    folder: Path, named: int, before: int
) -> None:
    landed(folder)
    landed(folder, b"third")
    (folder / "config.pbtxt").write_text(versions.pinned(config(folder), named))
    assert versions.served_before(folder) == before


def test_a_change_that_broke_off_leaves_the_way_back_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(folder)
    whole = atomic.write

    def killed(path: Path, content: bytes) -> None:
        if path == folder / "config.pbtxt" and b"[ 3 ]" in content:
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(atomic, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        landed(folder, b"third")
    assert (versions.served(folder), versions.served_before(folder)) == (2, 1)

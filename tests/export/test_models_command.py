"""`fess models`: fetch, prepare and list, as an operator types them."""

import re
import shutil
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from export import versions
from orchestrator.cli.models import app
from orchestrator.errors import ModelError
from tests.servers.reading_model import FIRST, graph_of
from tests.servers.vouching import vouch


@pytest.fixture
def here(tmp_path: Path, models_mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty installation in the current folder, with the mirror set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FESS_MODELS_MIRROR", str(models_mirror))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def fess_models(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_fetch_makes_what_triton_serves_and_says_so(here: Path) -> None:
    result = fess_models("fetch")
    assert result.exit_code == 0
    assert result.stderr.count("  new\n") == 3
    assert (here / "model_repository" / "face_embedder" / "1" / "model.onnx").is_file()
    again = fess_models("fetch")
    assert again.stderr.count("  up to date\n") == 3


def test_the_mirror_can_be_given_as_an_option(
    here: Path, models_mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FESS_MODELS_MIRROR", str(here / "nowhere"))
    result = fess_models("fetch", "face_detection_yunet_2026may", "--mirror", str(models_mirror))
    assert result.exit_code == 0
    assert "licence MIT" in result.stderr


def test_clips_are_fetched_on_request(
    here: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FESS_VIDEOS_MIRROR", str(clips))
    result = fess_models("fetch", "--clips")
    assert result.exit_code == 0
    assert "10 clips" in result.stderr
    assert (here / ".fess" / "clips" / "face_again.mkv").is_file()


def test_prepare_uses_no_network_and_names_what_must_be_fetched(here: Path) -> None:
    result = fess_models("prepare")
    assert isinstance(result.exception, ModelError)
    assert "run `fess models fetch rtmdet_nano_person_320`" in str(result.exception)


def test_prepare_makes_it_anew_from_fetched_files(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fess_models("fetch")
    monkeypatch.setenv("FESS_MODELS_MIRROR", str(here / "nowhere"))
    (here / "model_repository" / "face_detector" / "1" / "model.onnx").unlink()
    result = fess_models("prepare")
    assert result.exit_code == 0
    assert (result.stderr.count("  new\n"), result.stderr.count("  up to date\n")) == (1, 2)


def test_the_pixels_that_were_chosen_for_the_detector_stay_until_others_are(here: Path) -> None:
    fess_models("fetch")
    config = here / "model_repository" / "object_detector" / "config.pbtxt"
    assert fess_models("prepare", "--pixels", "planar").stderr.count("  new\n") == 1
    for words in (("fetch",), ("prepare",), ("fetch", "rtmdet_nano_person_320")):
        assert "  new\n" not in fess_models(*words).stderr
    assert "luma" in config.read_text()
    (line,) = (line for line in fess_models("list").stdout.splitlines() if "rtmdet_nano" in line)
    assert line.count("yes") == 2
    assert fess_models("prepare", "--pixels", "rgb").stderr.count("  new\n") == 1
    assert "luma" not in config.read_text()


def test_pixels_that_nothing_would_take_are_refused(here: Path) -> None:
    fess_models("fetch")
    (here / "mine.onnx").write_bytes(graph_of(FIRST))
    fess_models("add", "mine.onnx", "--labels", "person")
    result = fess_models("prepare", "--pixels", "planar")
    assert "--pixels planar: no object detector of the manifest" in str(result.exception)


def test_list_shows_every_model_with_its_licence_and_whether_it_is_here(here: Path) -> None:
    before = fess_models("list").stdout
    assert "rtmdet_nano_person_320" in before
    assert "(default)" in before
    assert "yes" not in before
    fess_models("fetch", "mobilefacenet_foamliu_112")
    listed = fess_models("list").stdout
    assert "(default with a mirror)" in listed
    assert "(default without a mirror)" in listed
    (line,) = (line for line in listed.splitlines() if "mobilefacenet_foamliu_112" in line)
    assert "Apache-2.0" in line
    assert "b7120c095d60" in line
    assert line.count("yes") == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--size", "0"], "SIZE=0: must be a multiple of 32"),
        (["--images", "pictures"], "IMAGES=pictures: .* LABELLED=path"),
        (["--ap-loss", "2"], r"AP_LOSS=2.0: .* LABELLED=path"),
        (["--calibration", "clips"], "CALIBRATION: PRECISION=fp32 is not calibrated"),
    ],
)
def test_what_an_export_would_not_use_is_refused(here: Path, words: list[str], reason: str) -> None:
    result = fess_models("export", "rtmdet-nano", "--checkpoint", "mine.pth", *words)
    assert isinstance(result.exception, ModelError)
    assert re.search(reason, str(result.exception))


def test_a_roll_back_serves_only_what_its_note_vouches_for(here: Path) -> None:
    fess_models("fetch", "face_detection_yunet_2026may")
    slot = here / "model_repository" / "face_detector"
    shutil.copytree(slot / "1", slot / "2")
    (slot / "2" / "config.pbtxt").write_text((slot / "config.pbtxt").read_text())
    versions.serve(slot, 1, (slot / "config.pbtxt").read_text())

    def refusal() -> str:
        before = (slot / "config.pbtxt").read_bytes()
        told = str(fess_models("rollback", "face_detector", "--to", "2").exception)
        assert (slot / "config.pbtxt").read_bytes() == before
        return told

    model, note = slot / "2" / "model.onnx", slot / "2" / "provenance.json"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    assert "wrong digest" in refusal()
    model.unlink()
    model.symlink_to(slot / "1" / "model.onnx")
    assert "is a symbolic link" in refusal()
    model.unlink()
    model.write_bytes(whole)
    vouched = note.read_bytes()
    note.write_bytes(b"{}")
    assert re.search("names no digest of the model; or go to another version", refusal())
    note.unlink()
    assert "no provenance.json vouches for it; if it is yours, `fess models add" in refusal()
    graph = onnx.load_model_from_string(whole)
    graph.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.write_bytes(graph.SerializeToString())
    vouch(model)
    assert "names data outside the file" in refusal()
    model.write_bytes(whole)
    note.write_bytes(vouched)
    assert fess_models("rollback", "face_detector", "--to", "2").exit_code == 0
    assert versions.served(slot) == 2


def test_a_file_of_ones_own_is_added_and_the_next_triton_serves_it(here: Path) -> None:
    fess_models("fetch", "rtmdet_nano_person_320")
    (here / "mine.onnx").write_bytes(graph_of(FIRST))
    result = fess_models("add", "mine.onnx", "--labels", "person")
    assert "No Triton runs" in result.stderr
    assert versions.served(here / "model_repository" / "object_detector") == 2
    assert "up to date" in fess_models("add", "mine.onnx", "--labels", "person").stderr


def test_list_shows_which_version_is_named_and_which_served_before(here: Path) -> None:
    fess_models("fetch", "face_detection_yunet_2026may")
    slot = here / "model_repository" / "face_detector"
    shutil.copytree(slot / "1", slot / "2")
    versions.serve(slot, 2, (slot / "config.pbtxt").read_text())
    (line,) = (each for each in fess_models("list").stdout.splitlines() if "1 2" in each)
    assert re.findall(r"\d[\d ]*\d|\d", line) == ["1 2", "1", "2"]

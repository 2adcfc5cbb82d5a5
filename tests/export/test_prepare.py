"""Preparing: a public file becomes what Triton serves, the same bytes every time, whole or not at all."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import versions
from export.manifest import Model, load
from export.prepare import edit, prepare, provenance, target, up_to_date
from orchestrator.errors import ModelError
from tests.export.onnx_files import detector, doubling, written

DEFAULTS = load().defaults()
EMBEDDER = load().model("mobilefacenet_foamliu_112")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("model", DEFAULTS, ids=lambda model: model.slot)
def test_the_result_is_the_one_the_manifest_records(
    model: Model, models_mirror: Path, tmp_path: Path
) -> None:
    made = prepare(models_mirror / model.file, model, tmp_path)
    assert made.path == tmp_path / model.slot / "1" / "model.onnx"
    assert made.sha256 == digest(made.path) == model.prepared_sha256


def test_what_it_was_made_of_is_noted_beside_it(models_mirror: Path, tmp_path: Path) -> None:
    made = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    note = json.loads(made.path.with_name("provenance.json").read_text())
    assert note["source_sha256"] == EMBEDDER.sha256
    assert note["result_sha256"] == made.sha256
    assert note["licence"] == "Apache-2.0"
    assert note["tools"].keys() == {"onnx", "python"}
    metadata = {entry.key: entry.value for entry in onnx.load(str(made.path)).metadata_props}
    assert metadata == {"fess.source_sha256": EMBEDDER.sha256}


def test_a_second_run_changes_nothing(models_mirror: Path, tmp_path: Path) -> None:
    first = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    second = prepare(tmp_path / "not read.onnx", EMBEDDER, tmp_path)
    assert (first.changed, second.changed) == (True, False)
    assert second.sha256 == first.sha256


@pytest.mark.parametrize("victim", ["model.onnx", "provenance.json"])
@pytest.mark.parametrize("harm", ["lost", "cut short"])
def test_a_damaged_result_is_made_anew(
    models_mirror: Path, tmp_path: Path, victim: str, harm: str
) -> None:
    source = models_mirror / EMBEDDER.file
    first = prepare(source, EMBEDDER, tmp_path)
    file = first.path.with_name(victim)
    if harm == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    assert up_to_date(EMBEDDER, tmp_path) is None
    again = prepare(source, EMBEDDER, tmp_path)
    assert again.changed
    assert digest(first.path) == first.sha256


def test_a_result_of_an_older_recipe_is_made_anew(models_mirror: Path, tmp_path: Path) -> None:
    made = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    note = provenance(made.path)
    assert note is not None
    older = note.model_copy(update={"recipe": note.recipe - 1})
    made.path.with_name("provenance.json").write_text(older.model_dump_json())
    assert up_to_date(EMBEDDER, tmp_path) is None


def test_what_an_older_recipe_made_stays_and_the_new_one_is_served_beside_it(
    models_mirror: Path, tmp_path: Path
) -> None:
    first = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    note = provenance(first.path)
    assert note is not None
    older = note.model_copy(update={"recipe": note.recipe - 1, "result_sha256": "1" * 64})
    first.path.with_name("provenance.json").write_text(older.model_dump_json())
    first.path.write_bytes(b"what the older recipe gave")
    second = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    assert first.path.read_bytes() == b"what the older recipe gave"
    assert second.path == tmp_path / "face_embedder" / "2" / "model.onnx"
    assert versions.served(tmp_path / "face_embedder") == 2


def test_a_tuned_configuration_is_left_alone(models_mirror: Path, tmp_path: Path) -> None:
    source = models_mirror / EMBEDDER.file
    made = prepare(source, EMBEDDER, tmp_path)
    config = tmp_path / "face_embedder" / "config.pbtxt"
    config.write_text("# tuned\n" + config.read_text())
    made.path.unlink()
    prepare(source, EMBEDDER, tmp_path)
    assert config.read_text().startswith("# tuned\n")


def test_a_detector_that_takes_other_pixels_is_made_anew_with_its_configuration(
    models_mirror: Path, tmp_path: Path
) -> None:
    (rgb,) = [model for model in DEFAULTS if model.slot == "object_detector"]
    planar = rgb.model_copy(update={"pixels": "planar"})
    config = tmp_path / "object_detector" / "config.pbtxt"
    made: dict[str, str] = {}
    for model in (rgb, planar, rgb):
        assert up_to_date(model, tmp_path) is None
        prepared = prepare(models_mirror / rgb.file, model, tmp_path)
        assert prepared.changed
        assert ("luma" in config.read_text()) == (model.pixels == "planar")
        assert made.setdefault(model.pixels, prepared.sha256) == prepared.sha256
    assert made["rgb"] == rgb.prepared_sha256 != made["planar"]


def test_only_a_detector_takes_planes(models_mirror: Path, tmp_path: Path) -> None:
    planar = EMBEDDER.model_copy(update={"pixels": "planar"})
    with pytest.raises(ModelError, match="only an object detector takes planar pixels"):
        prepare(models_mirror / EMBEDDER.file, planar, tmp_path)


def test_the_configuration_of_other_weights_is_replaced(
    models_mirror: Path, tmp_path: Path
) -> None:
    config = tmp_path / "face_embedder" / "config.pbtxt"
    config.parent.mkdir()
    config.write_text('name: "face_embedder"\n')
    prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    assert EMBEDDER.require_sha256() in config.read_text()


def test_nothing_is_left_behind_when_the_folder_cannot_be_written(
    models_mirror: Path, tmp_path: Path
) -> None:
    (tmp_path / "face_embedder").write_text("a file where a folder should be")
    with pytest.raises(ModelError, match="cannot be written"):
        prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["face_embedder"]


def test_a_wrong_file_is_refused_and_the_previous_result_stays(
    models_mirror: Path, tmp_path: Path
) -> None:
    made = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    other = models_mirror / "face_detection_yunet_2026may.onnx"
    changed = EMBEDDER.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(ModelError, match="wrong digest"):
        prepare(other, changed, tmp_path)
    assert digest(made.path) == made.sha256


def test_a_checkpoint_says_how_to_export_it(tmp_path: Path) -> None:
    model = load().model("rtmdet_m_coco_640")
    with pytest.raises(ModelError, match="PyTorch checkpoint; export it with MMDeploy"):
        prepare(tmp_path / model.file, model, tmp_path)


def like(model: Model, file: Path, slot: str) -> Model:
    update = {"sha256": digest(file), "slot": slot, "inputs": (), "outputs": ()}
    return model.model_copy(update=update)


def test_a_detector_that_does_not_end_in_suppression_is_refused(tmp_path: Path) -> None:
    file = written(doubling(), tmp_path)
    with pytest.raises(ModelError, match="end-to-end export with one NonMaxSuppression, found 0"):
        edit(file, like(EMBEDDER, file, "object_detector"))


def test_a_network_that_takes_no_picture_is_refused(tmp_path: Path) -> None:
    model = doubling()
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 8
    file = written(model, tmp_path)
    with pytest.raises(ModelError, match="the input feeds Mul, not a convolution"):
        edit(file, like(EMBEDDER, file, "face_embedder"))


def test_an_embedder_of_two_outputs_is_refused(tmp_path: Path) -> None:
    model = doubling()
    model.graph.output.append(model.graph.output[0])
    file = written(model, tmp_path)
    with pytest.raises(ModelError, match="expected one output of fixed dimension"):
        edit(file, like(EMBEDDER, file, "face_embedder"))


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    model = detector(np.zeros((9, 4), np.float32), np.zeros((1, 9), np.float32))
    second = model.graph.input.add()
    second.CopyFrom(model.graph.input[0])
    second.name = "mask"
    file = written(model, tmp_path)
    with pytest.raises(ModelError, match="expected a model with one input"):
        edit(file, like(EMBEDDER, file, "object_detector"))


def test_an_embedder_of_another_dimension_is_configured_with_it(
    models_mirror: Path, tmp_path: Path
) -> None:
    untouched = onnx.load(str(models_mirror / EMBEDDER.file))
    output = untouched.graph.output[0]
    last = next(node for node in untouched.graph.node if output.name in node.output)
    last.output[0] = "half"
    untouched.graph.node.append(
        onnx.helper.make_node("Concat", ["half"] * 4, [output.name], axis=1)
    )
    output.type.tensor_type.shape.dim[1].dim_value = 512
    file = written(untouched, tmp_path)
    model = like(EMBEDDER, file, "face_embedder").model_copy(update={"match_threshold": None})
    prepare(file, model, tmp_path / "repository")
    config = (tmp_path / "repository" / "face_embedder" / "config.pbtxt").read_text()
    assert "dims: [ 512 ]" in config
    assert "match_threshold" not in config
    assert target(model, tmp_path / "repository").is_file()


def test_other_weights_land_beside_those_that_are_there(
    models_mirror: Path, tmp_path: Path
) -> None:
    first = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    note = provenance(first.path)
    assert note is not None
    other = note.model_copy(update={"source_sha256": "1" * 64})
    first.path.with_name("provenance.json").write_text(other.model_dump_json())
    first.path.write_bytes(b"other weights")
    second = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    assert first.path.read_bytes() == b"other weights"
    assert second.path == tmp_path / "face_embedder" / "2" / "model.onnx"
    assert versions.served(tmp_path / "face_embedder") == 2
    assert up_to_date(EMBEDDER, tmp_path) is not None
    assert target(EMBEDDER, tmp_path) == second.path


def test_weights_that_are_there_but_not_served_are_served_again_untouched(
    models_mirror: Path, tmp_path: Path
) -> None:
    first = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    written_ns = first.path.stat().st_mtime_ns
    folder = tmp_path / "face_embedder"
    versions.serve(folder, versions.land(folder, {"model.onnx": b"x"}), 'name: "face_embedder"\n')
    again = prepare(models_mirror / EMBEDDER.file, EMBEDDER, tmp_path)
    assert (again.path, again.changed) == (first.path, True)
    assert versions.served(folder) == 1
    assert first.path.stat().st_mtime_ns == written_ns

"""An operator's own ONNX file: the one plain way in, and what does not come in by it."""

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no stubs
from onnx import TensorProto
from tritonclient.grpc import model_config_pb2

from export import adding, serving, versions, vouched
from export.manifest import Slot, load
from export.prepare import Prepared, edit
from orchestrator.errors import ModelError
from tests.export.onnx_files import doubling, written
from tests.servers.reading_model import FIRST, SECOND, graph_of

FOLDERS: dict[Slot, str] = {
    "object_detector": "object_detector",
    "face_detector": "face_detector",
    "face_embedder": "face_embedder",
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An object detector in RGB."""
    path = tmp_path / "my forklifts (2).onnx"
    path.write_bytes(graph_of(SECOND))
    return path


def added(file: Path, *labels: str, folders: dict[Slot, str] = FOLDERS) -> Prepared:
    return adding.add(file, file.parent / "repository", folders, labels=labels or None)


def config(folder: Path) -> model_config_pb2.ModelConfig:
    text = (folder / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_it_is_served_as_it_is_and_vouched_for(mine: Path) -> None:
    made = added(mine, "forklift", "guest")
    version = mine.parent / "repository" / "object_detector" / "1"
    assert (made.path, made.changed) == (version / "model.onnx", True)
    assert made.path.read_bytes() == mine.read_bytes()
    vouched.require(version)
    found = config(version.parent)
    assert list(found.version_policy.specific.versions) == [1]
    assert list(found.input[0].dims) == [SECOND.size, SECOND.size, 3]
    assert found.parameters["labels"].string_value == "forklift,guest"
    assert found.parameters["source_sha256"].string_value == made.sha256
    assert (version / "labels.txt").read_text() == "forklift\nguest\n"


def test_the_same_again_is_no_new_version_but_other_labels_are(mine: Path) -> None:
    added(mine, "forklift", "guest")
    assert not added(mine, "forklift", "guest").changed
    assert added(mine, "forklift", "visitor").path.parent.name == "2"
    assert versions.served_before(mine.parent / "repository" / "object_detector") == 1


def test_what_lies_in_the_repository_already_comes_in_as_another_version(mine: Path) -> None:
    added(mine, "forklift", "guest")
    by_hand = mine.parent / "repository" / "object_detector" / "2" / "model.onnx"
    by_hand.parent.mkdir()
    by_hand.write_bytes(graph_of(FIRST))
    with pytest.raises(
        ModelError, match=f"no provenance.json vouches .*`fess models add {by_hand}`"
    ):
        vouched.require(by_hand.parent)
    made = adding.add(by_hand, mine.parent / "repository", FOLDERS, labels=("person",))
    assert made.path.parent.name == "3"
    vouched.require(made.path.parent)


def test_it_goes_to_the_folder_that_the_settings_name(mine: Path) -> None:
    made = added(mine, "forklift", "guest", folders=FOLDERS | {"object_detector": "forklifts"})
    assert made.path.parents[1].name == "forklifts"
    assert config(made.path.parents[1]).name == "forklifts"


@pytest.mark.parametrize("name", ["face_detection_yunet_2026may", "mobilefacenet_foamliu_112"])
def test_what_a_file_is_is_seen_by_its_signature(
    name: str, models_mirror: Path, tmp_path: Path
) -> None:
    model = load().model(name)
    graph = edit(models_mirror / model.file, model)
    file = written(graph, tmp_path)
    made = adding.add(file, tmp_path / "repository", FOLDERS, match_threshold=0.5)
    assert made.path.parents[1].name == model.slot
    ours = serving.config(model, graph)
    parsed = text_format.Parse(ours, model_config_pb2.ModelConfig())
    assert config(made.path.parents[1]).input == parsed.input
    assert config(made.path.parents[1]).output == parsed.output


def test_planes_are_taken_as_well(models_mirror: Path, tmp_path: Path) -> None:
    model = load().model("rtmdet_nano_person_320").model_copy(update={"pixels": "planar"})
    file = written(edit(models_mirror / model.file, model), tmp_path)
    found = config(added(file, "person").path.parents[1])
    assert found.parameters["pixels"].string_value == "planar"


def spoilt(mine: Path, kind: str) -> Path:
    graph = onnx.load_model_from_string(mine.read_bytes())
    match kind:
        case "elsewhere":
            graph.graph.initializer[0].data_location = TensorProto.EXTERNAL
        case "one picture":
            graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        case "any size":
            graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
        case "floats":
            graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        case "one answer less":
            del graph.graph.output[0]
        case "something else":
            graph = doubling()
    return written(graph, mine.parent)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("elsewhere", "names data outside the file"),
        ("one picture", "wrong inputs or outputs, found images uint8"),
        ("any size", "wrong inputs or outputs"),
        ("floats", "wrong inputs or outputs, found images float32"),
        ("one answer less", "wrong inputs or outputs"),
        ("something else", "found numbers float32 .* docs/models.md"),
    ],
)
def test_what_fess_cannot_ask_is_refused_and_nothing_changes(
    mine: Path, kind: str, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        added(spoilt(mine, kind), "forklift", "guest")
    assert not (mine.parent / "repository").exists()


def test_a_link_is_refused(mine: Path) -> None:
    link = mine.with_name("link.onnx")
    link.symlink_to(mine)
    with pytest.raises(ModelError, match="is a symbolic link"):
        added(link, "forklift")


def test_a_detector_needs_labels_and_nothing_else_has_any(
    mine: Path, models_mirror: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="--labels a,b,…: give the classes"):
        added(mine)
    with pytest.raises(ModelError, match="labels must differ"):
        added(mine, "guest", "guest")
    faces = load().model("face_detection_yunet_2026may")
    file = written(edit(models_mirror / faces.file, faces), tmp_path)
    with pytest.raises(ModelError, match="are of object detectors, and this is a face_detector"):
        added(file, "face")


def test_an_embedder_needs_a_threshold_of_the_operators(
    models_mirror: Path, tmp_path: Path
) -> None:
    model = load().model("mobilefacenet_foamliu_112")
    file = written(edit(models_mirror / model.file, model), tmp_path)
    with pytest.raises(ModelError, match="set FACES_MATCH_THRESHOLD"):
        added(file)

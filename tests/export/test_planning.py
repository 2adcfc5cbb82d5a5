"""What a TensorRT plan is built of: our signature around one EfficientNMS_TRT, which gets finished boxes and scores.

No TensorRT is here, so no plan is built: tested are the graph up to the plugin, its attributes, and the configuration.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no stubs
from numpy.typing import NDArray
from onnx import helper
from tritonclient.grpc import model_config_pb2

from export import planning
from export.graphs.object_detector import IOU, ROWS, SCORE, object_detector
from export.graphs.plan import PLUGIN, plan
from export.manifest import Model, load
from orchestrator.errors import ModelError
from tests.export.onnx_files import detector

SIDE = 8
BOXES = np.array([[0, 0, 4, 4], [1, 1, 8, 8], [2, 0, 3, 5]], np.float32)
SCORES = np.array([[0.9, 0.2, 0.1], [0.1, 0.8, 0.3]], np.float32)


@pytest.fixture
def model() -> Model:
    nano = load().model("rtmdet_nano_person_320")
    size = nano.preprocessing.model_copy(update={"width": SIDE, "height": SIDE})
    return nano.model_copy(update={"preprocessing": size, "labels": ("person", "car")})


@pytest.fixture
def made(model: Model) -> onnx.ModelProto:
    return plan(detector(BOXES, SCORES), model)


def plugin_of(made: onnx.ModelProto) -> onnx.NodeProto:
    node: onnx.NodeProto
    (node,) = (node for node in made.graph.node if node.op_type == PLUGIN)
    return node


def before_plugin(made: onnx.ModelProto, pictures: NDArray[np.uint8]) -> list[Any]:
    """What the plugin is given."""
    node = plugin_of(made)
    graph = onnx.GraphProto()
    graph.CopyFrom(made.graph)
    kept = [each for each in graph.node if each.op_type not in {PLUGIN, "Identity"}]
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.input
    )
    whole = helper.make_model(graph, opset_imports=list(made.opset_import), ir_version=8)
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"images": pictures}))


def test_the_signature_is_the_one_that_is_served(made: onnx.ModelProto, model: Model) -> None:
    served = object_detector(detector(BOXES, SCORES), model)
    assert list(made.graph.input) == list(served.graph.input)
    assert list(made.graph.output) == list(served.graph.output)


def test_the_plugin_is_told_the_limits_that_the_served_graph_has(made: onnx.ModelProto) -> None:
    found = {each.name: helper.get_attribute_value(each) for each in plugin_of(made).attribute}
    assert found == {
        "plugin_version": b"1",
        "score_threshold": pytest.approx(SCORE),
        "iou_threshold": pytest.approx(IOU),
        "max_output_boxes": ROWS,
        "background_class": -1,
        "score_activation": 0,
        "class_agnostic": 0,
        "box_coding": 0,
    }


def test_the_plugin_gets_corners_and_the_scores_of_each_box(made: onnx.ModelProto) -> None:
    boxes, scores = before_plugin(made, np.zeros((2, SIDE, SIDE, 3), np.uint8))
    assert boxes.tolist() == [BOXES.tolist()] * 2
    assert scores.tolist() == [SCORES.T.tolist()] * 2


def test_nothing_is_left_of_the_suppression_that_it_replaces(made: onnx.ModelProto) -> None:
    left = {node.op_type for node in made.graph.node}
    assert not left & {"NonMaxSuppression", "TopK", "ScatterND", "GatherND"}


def test_a_graph_that_sorts_more_than_tensorrt_can_is_refused(
    models_mirror: Path,
) -> None:
    nano = load().model("rtmdet_nano_person_320")
    with pytest.raises(ModelError, match=r"more than the 3840 that TensorRT sorts"):
        plan(onnx.load(models_mirror / nano.file), nano)


def test_the_configuration_serves_a_plan_on_a_gpu(model: Model, tmp_path: Path) -> None:
    folder = planning.write(detector(BOXES, SCORES), model, tmp_path / "plan")
    text = (folder / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.platform == "tensorrt_plan"
    assert config.default_model_filename == "model.plan"
    assert not config.backend
    (group,) = config.instance_group
    assert group.kind == group.KIND_GPU
    assert [each.name for each in config.output] == ["count", "boxes", "scores", "labels"]
    assert (folder / "labels.txt").read_text() == "person\ncar\n"
    assert (folder / "plan.onnx").stat().st_size > 0


def test_the_plan_is_built_for_every_batch_that_is_served(model: Model, tmp_path: Path) -> None:
    folder = planning.write(detector(BOXES, SCORES), model, tmp_path / "plan")
    config = text_format.Parse(
        (folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    command = (folder / "build.sh").read_text()
    assert "--minShapes=images:1x8x8x3" in command
    assert f"--maxShapes=images:{config.max_batch_size}x8x8x3" in command
    assert "--onnx=plan.onnx --saveEngine=model.plan" in command


def test_a_plan_takes_the_planes_that_the_served_graph_takes(model: Model, tmp_path: Path) -> None:
    wanted = model.model_copy(update={"pixels": "planar"})
    source = detector(BOXES, SCORES)
    assert list(plan(source, wanted).graph.input) == list(
        object_detector(source, wanted).graph.input
    )
    folder = planning.write(source, wanted, tmp_path / "plan")
    command = (folder / "build.sh").read_text()
    assert "--minShapes=luma:1x8x8,chroma:1x2x4x4,colour:1x3x4 " in command
    assert "--maxShapes=luma:8x8x8,chroma:8x2x4x4,colour:8x3x4 " in command

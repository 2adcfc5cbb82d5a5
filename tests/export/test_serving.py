"""The model repository: what Triton is told agrees with the manifest and with the prepared graphs."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no stubs
from tritonclient.grpc import model_config_pb2

from export import versions
from export.gate import admit
from export.manifest import Model, Pixels, load
from export.prepare import edit
from export.serving import ENGINES, Precision, Serving, config, pixels_of

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
DEFAULTS = load().defaults()
slot = pytest.mark.parametrize("model", DEFAULTS, ids=lambda model: model.slot)


def parsed(model: Model) -> model_config_pb2.ModelConfig:
    text = (REPOSITORY / model.slot / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_every_folder_has_a_default_model() -> None:
    folders = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
    assert folders == {model.slot for model in DEFAULTS}


@slot
def test_the_file_is_the_one_that_preparing_writes(model: Model, models_mirror: Path) -> None:
    edited = edit(models_mirror / model.file, model)
    written = (REPOSITORY / model.slot / "config.pbtxt").read_text(encoding="utf-8")
    assert written == versions.pinned(config(model, edited), 1)


PLANAR_DIMS = {"luma": [320, 320], "chroma": [2, 160, 160], "colour": [3, 4]}
DECODED_DIMS = {"luma": [-1, -1], "chroma": [2, -1, -1], "colour": [3, 4]}


@pytest.mark.parametrize(("pixels", "dims"), [("planar", PLANAR_DIMS), ("decoded", DECODED_DIMS)])
def test_a_detector_of_planes_says_so_and_is_warmed_up_with_all_its_inputs(
    pixels: Pixels, dims: dict[str, list[int]], models_mirror: Path
) -> None:
    (model,) = [model for model in DEFAULTS if model.slot == "object_detector"]
    wanted = model.model_copy(update={"pixels": pixels})
    text = config(wanted, edit(models_mirror / model.file, wanted))
    served = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert {given.name: list(given.dims) for given in served.input} == dims
    assert served.parameters["pixels"].string_value == pixels_of(text) == pixels
    for warmup in served.model_warmup:
        assert warmup.inputs.keys() == dims.keys()
        assert all(size > 0 for given in warmup.inputs.values() for size in given.dims)


@slot
def test_evidence_names_the_weights_of_the_manifest(model: Model) -> None:
    assert parsed(model).parameters["source_sha256"].string_value == model.sha256


@slot
def test_inputs_and_outputs_are_those_of_the_graph(model: Model, models_mirror: Path) -> None:
    edited = edit(models_mirror / model.file, model)
    served = parsed(model)
    for given, declared in (
        (edited.graph.input, served.input),
        (edited.graph.output, served.output),
    ):
        assert [value.name for value in given] == [value.name for value in declared]
        for value, wanted in zip(given, declared, strict=True):
            dimensions = value.type.tensor_type.shape.dim
            assert dimensions[0].dim_param == "N"
            assert [d.dim_value for d in dimensions[1:]] == list(wanted.dims)


@slot
def test_every_batch_size_is_warmed_up(model: Model) -> None:
    served = parsed(model)
    assert sorted(each.batch_size for each in served.model_warmup) == [
        *range(1, served.max_batch_size + 1)
    ]


@slot
def test_what_waits_is_batched_and_nothing_waits_for_company_or_for_a_batcher_that_sleeps(
    model: Model,
) -> None:
    served = parsed(model)
    assert served.HasField("dynamic_batching")
    batching = served.dynamic_batching
    assert batching.max_queue_delay_microseconds == 0
    assert not batching.preferred_batch_size
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_levels


@slot
def test_one_configuration_serves_gpu_and_processor(model: Model) -> None:
    served = parsed(model)
    assert served.backend == "onnxruntime"
    (group,) = served.instance_group
    assert group.kind == group.KIND_AUTO
    (accelerator,) = served.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert not served.optimization.execution_accelerators.cpu_execution_accelerator


@slot
def test_a_queue_policy_never_meets_a_single_instance(model: Model) -> None:
    (group,) = parsed(model).instance_group
    assert group.count >= 2


def test_labels_are_the_same_in_the_file_the_parameter_and_the_manifest() -> None:
    model = next(model for model in DEFAULTS if model.slot == "object_detector")
    lines = (REPOSITORY / "object_detector" / "labels.txt").read_text().splitlines()
    assert tuple(lines) == model.labels
    assert parsed(model).parameters["labels"].string_value.split(",") == lines


def test_the_embedder_recommends_a_threshold_and_names_its_model() -> None:
    model = next(model for model in DEFAULTS if model.slot == "face_embedder")
    parameters = parsed(model).parameters
    assert float(parameters["match_threshold"].string_value) == model.match_threshold
    assert parameters["embedding_model"].string_value == model.name


@slot
def test_sources_pass_the_gate_with_the_signature_of_the_manifest(
    model: Model, models_mirror: Path
) -> None:
    assert model.inputs
    assert model.outputs
    admitted = admit(
        models_mirror / model.file,
        sha256=model.sha256,
        inputs=model.inputs,
        outputs=model.outputs,
    )
    assert admitted.graph.node


@pytest.fixture(scope="module")
def detector(models_mirror: Path) -> tuple[Model, onnx.ModelProto]:
    model = next(model for model in DEFAULTS if model.slot == "object_detector")
    return model, edit(models_mirror / model.file, model)


def accelerators(detector: tuple[Model, onnx.ModelProto], how: Serving) -> Any:
    model, graph = detector
    text = config(model, graph, serving=how)
    parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
    return parsed.optimization.execution_accelerators


def test_openvino_is_asked_for_in_tritons_own_words(
    detector: tuple[Model, onnx.ModelProto],
) -> None:
    found = accelerators(detector, Serving("openvino"))
    assert [each.name for each in found.cpu_execution_accelerator] == ["openvino"]
    assert not found.gpu_execution_accelerator


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_tensorrt_keeps_its_engines_and_builds_one_for_every_batch(
    detector: tuple[Model, onnx.ModelProto], precision: Precision
) -> None:
    (found,) = accelerators(detector, Serving("tensorrt", precision)).gpu_execution_accelerator
    assert found.name == "tensorrt"
    parameters = dict(found.parameters)
    assert parameters["precision_mode"] == precision.upper()
    assert parameters["trt_engine_cache_enable"] == "1"
    # Engines of other weights are elsewhere: TensorRT would not notice.
    assert parameters["trt_engine_cache_path"] == f"{ENGINES}/{detector[0].name}-rgb-{precision}"
    shapes = [parameters[f"trt_profile_{which}_shapes"] for which in ("min", "opt", "max")]
    assert shapes == [f"images:{rows}x320x320x3" for rows in (1, 8, 8)]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_graph_of_fewer_bits_is_given_to_no_accelerator_that_would_read_it_otherwise(
    detector: tuple[Model, onnx.ModelProto], precision: Precision
) -> None:
    found = accelerators(detector, Serving(None, precision))
    assert not found.gpu_execution_accelerator
    assert not found.cpu_execution_accelerator

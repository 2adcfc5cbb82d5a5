"""The configuration Triton reads beside a prepared model: one file for NVIDIA's image and the embedded server.

NVIDIA's image runs it with the native ONNX Runtime backend, the embedded server with a Python-based
backend of the same name. docs/models.md gives the reason for every choice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from types import MappingProxyType
from typing import Literal

import onnx

from export.manifest import Model, Slot

TRITON_TYPES: dict[int, str] = {
    int(onnx.TensorProto.FLOAT): "TYPE_FP32",
    int(onnx.TensorProto.INT32): "TYPE_INT32",
    int(onnx.TensorProto.UINT8): "TYPE_UINT8",
}
LARGEST_BATCH: dict[Slot, int] = {"object_detector": 8, "face_detector": 8, "face_embedder": 16}

Precision = Literal["fp32", "fp16", "int8"]
Accelerator = Literal["openvino", "tensorrt", "plan"]
# Where TensorRT keeps what it built; below it a folder of each model's own, so that no engine outlives its weights.
ENGINES = "/var/cache/fess/engines"


@dataclass(frozen=True, slots=True)
class Serving:
    """How a prepared graph is run.

    accelerator  None: what every configuration has, TensorRT without a cache on a GPU and ONNX Runtime on a processor;
                 plan: no ONNX at all, but what TensorRT built
    precision    of the graph
    """

    accelerator: Accelerator | None = None
    precision: Precision = "fp32"


CONFIG = Template("""\
# $title.
# $origin
name: "$slot"
$runtime
max_batch_size: $batch

input [
$inputs
]
output [
$outputs
]

# Requests of all cameras that wait for an instance run together; none waits for company, which on a processor
# would be computed no quicker and leave a core idle meanwhile. No queue policy: with one Triton 24.10 now and
# then forgets to wake its batcher, and requests stand still for half a second. How many wait here is bounded by
# the clients: TRITON_MAX_IN_FLIGHT each, and fewer while answers take long.
dynamic_batching {
  max_queue_delay_microseconds: 0
}

# $where Two instances: a core each, and a GPU gets the next batch while it computes.
instance_group [ { kind: $kind count: 2 } ]

$optimization
# The first run of every batch size allocates and tunes; nobody should wait for that. The largest comes
# second, so that TensorRT knows the whole range after two engines.
model_warmup [
$warmup
]

# Digest of the public weights: goes into the evidence of every event.
parameters { key: "source_sha256" value: { string_value: "$sha256" } }
$parameters
# One thread a request: requests of other cameras use the other cores.
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
""")

OPTIMIZATION = Template("""\
# $reason
optimization {
  execution_accelerators {
    ${kind}_execution_accelerator [
      {
        name: "$name"$parameters
      }
    ]
  }
}
""")

FROM_MANIFEST = (
    "Written by `fess models prepare` from export/manifest.toml; "
    "kept as it is while the weights stay the same."
)
LABELS = "labels.txt"
PIXELS = "pixels"
_SAID = re.compile(rf'key: "{PIXELS}" value: {{ string_value: "(\w+)"')

TENSOR = Template("""\
  {
    name: "$name"
    data_type: $dtype
    dims: [ $dims ]$extra
  }""")

WARMUP = Template("""\
  {
    name: "batch of $batch"
    batch_size: $batch
$inputs
  }""")
WARMUP_INPUT = Template("""\
    inputs {
      key: "$name"
      value: { data_type: $dtype dims: [ $dims ] zero_data: true }
    }""")
# Of inputs whose size is free.
WARMUP_SIZES = {"H": 1080, "W": 1920, "h": 540, "w": 960}


WHOLE = {"precision_mode": "FP32", "max_workspace_size_bytes": "1073741824"}
ONNX_RUNTIME = {
    "runtime": 'backend: "onnxruntime"',
    "where": "A GPU where there is one, else the processor.",
    "kind": "KIND_AUTO",
}
PLAN = {
    "runtime": 'platform: "tensorrt_plan"\ndefault_model_filename: "model.plan"',
    "where": "Only the kind of GPU that built the plan can run it.",
    "kind": "KIND_GPU",
}


def config(
    model: Model,
    prepared: onnx.ModelProto,
    *,
    origin: str = FROM_MANIFEST,
    labels: str = LABELS,
    serving: Serving = Serving(),
) -> str:
    """The text of config.pbtxt for a prepared model.

    Args:
        model: names the weights and their classes.
        prepared: gives inputs and outputs.
        origin: a sentence for the top of the file.
        labels: file of the labels, from the model's folder.
        serving: how the graph is run.
    """
    batch = LARGEST_BATCH[model.slot]
    inputs = prepared.graph.input
    sizes = [1, batch, *range(2, batch)]
    return CONFIG.substitute(
        title=model.title,
        origin=origin,
        **(PLAN if serving.accelerator == "plan" else ONNX_RUNTIME),
        slot=model.slot,
        batch=batch,
        inputs=_tensors(inputs, labels),
        outputs=_tensors(prepared.graph.output, labels),
        optimization=_optimization(model, serving, inputs, batch),
        warmup=",\n".join(_warmup(inputs, size) for size in sizes),
        sha256=model.require_sha256(),
        parameters="\n".join(
            f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
            for key, value in _parameters(model)
        ),
    )


def _optimization(
    model: Model, serving: Serving, inputs: Sequence[onnx.ValueInfoProto], batch: int
) -> str:
    match serving:
        case Serving("openvino"):
            reason = "Only looked at for instances on a processor: OpenVINO instead of ONNX Runtime's own kernels."
            return _accelerator(reason, "cpu", "openvino", {})
        case Serving("tensorrt", precision):
            reason = (
                "Only looked at for instances on a GPU. Engines are kept, so that only the first start builds them; "
                "one profile\n# for every batch, so that they are built once."
            )
            return _accelerator(
                reason, "gpu", "tensorrt", _engines(model, precision, inputs, batch)
            )
        case Serving("plan"):
            return "# Everything was chosen when the plan was built.\n"
        case Serving(None, "fp32"):
            reason = (
                "Only looked at for instances on a GPU. "
                "FP32, because coordinates in FP16 are a quarter of a pixel apart."
            )
            return _accelerator(reason, "gpu", "tensorrt", WHOLE)
    # TensorRT takes integers only around zero, and would choose half precision for coordinates as well.
    return f"# No accelerator: the graph says itself what is computed in {serving.precision}.\n"


def _engines(
    model: Model, precision: Precision, inputs: Sequence[onnx.ValueInfoProto], batch: int
) -> dict[str, str]:
    return {
        **WHOLE,
        "precision_mode": precision.upper(),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"{ENGINES}/{model.name}-{model.pixels}-{precision}",
        "trt_timing_cache_enable": "1",
        "trt_profile_min_shapes": profile(inputs, 1),
        "trt_profile_opt_shapes": profile(inputs, batch),
        "trt_profile_max_shapes": profile(inputs, batch),
    }


def profile(inputs: Sequence[onnx.ValueInfoProto], rows: int) -> str:
    """Shapes of a batch, as TensorRT's tools read them."""
    sizes = ((each.name, _dims(each).replace(", ", "x")) for each in inputs)
    return ",".join(f"{name}:{rows}x{size}" for name, size in sizes)


def _accelerator(reason: str, kind: str, name: str, parameters: Mapping[str, str]) -> str:
    lines = (
        f'\n        parameters {{ key: "{key}" value: "{value}" }}'
        for key, value in parameters.items()
    )
    return OPTIMIZATION.substitute(reason=reason, kind=kind, name=name, parameters="".join(lines))


def _parameters(model: Model) -> list[tuple[str, str]]:
    match model.slot:
        case "object_detector":
            named = [("model", model.name), ("labels", ",".join(model.labels))]
            return [*named, *([(PIXELS, model.pixels)] if model.pixels != "rgb" else [])]
        case "face_detector":
            return [("model", model.name)]
        case "face_embedder":
            threshold = [("match_threshold", f"{model.match_threshold}")]
            return [
                ("embedding_model", model.name),
                *(threshold if model.match_threshold is not None else []),
            ]


def _tensors(values: Sequence[onnx.ValueInfoProto], labels: str) -> str:
    return ",\n".join(
        TENSOR.substitute(
            name=value.name,
            dtype=_type(value),
            dims=_dims(value),
            extra=f'\n    label_filename: "{labels}"' if value.name == "labels" else "",
        )
        for value in values
    )


def pixels_of(config: str) -> str:
    """What a model of this configuration takes; older ones do not say and take RGB."""
    said = _SAID.search(config)
    return said[1] if said else "rgb"


def _warmup(inputs: Sequence[onnx.ValueInfoProto], batch: int) -> str:
    given = [
        WARMUP_INPUT.substitute(
            name=value.name, dtype=_type(value), dims=_dims(value, WARMUP_SIZES)
        )
        for value in inputs
    ]
    return WARMUP.substitute(batch=batch, inputs="\n".join(given))


def _type(value: onnx.ValueInfoProto) -> str:
    return TRITON_TYPES[value.type.tensor_type.elem_type]


def _dims(value: onnx.ValueInfoProto, free: Mapping[str, int] = MappingProxyType({})) -> str:
    """Dimensions without the batch, which Triton adds itself; -1 where they are free."""
    shape = value.type.tensor_type.shape.dim[1:]
    return ", ".join(str(d.dim_value or free.get(d.dim_param, -1)) for d in shape)

"""The configuration Triton reads beside a prepared model: one file for NVIDIA's image and the embedded server.

NVIDIA's image runs it with the native ONNX Runtime backend, the embedded server with a Python-based
backend of the same name. docs/models.md gives the reason for every choice.
"""

import re
from collections.abc import Mapping, Sequence
from string import Template
from types import MappingProxyType

import onnx

from export.manifest import Model, Slot

TRITON_TYPES: dict[int, str] = {
    int(onnx.TensorProto.FLOAT): "TYPE_FP32",
    int(onnx.TensorProto.INT32): "TYPE_INT32",
    int(onnx.TensorProto.UINT8): "TYPE_UINT8",
}
# Largest batch, and requests that may wait.
LIMITS: dict[Slot, tuple[int, int]] = {
    "object_detector": (8, 128),
    "face_detector": (8, 128),
    "face_embedder": (16, 256),
}

CONFIG = Template("""\
# $title.
# $origin
name: "$slot"
backend: "onnxruntime"
max_batch_size: $batch

input [
$inputs
]
output [
$outputs
]

# Requests of all cameras that arrive within 2 ms run together. No preferred size: whatever is there goes.
# A request that has waited too long shows a past that nobody asks for any more: it is refused, and
# a client may set a shorter limit for each request.
dynamic_batching {
  max_queue_delay_microseconds: 2000
  default_queue_policy {
    max_queue_size: $queue
    default_timeout_microseconds: 500000
    timeout_action: REJECT
    allow_timeout_override: true
  }
}

# A GPU where there is one, else the processor. Two instances, never one: with a queue policy and a single
# instance, Triton 24.10 forgets to wake its batcher and requests stand still for half a second.
instance_group [ { kind: KIND_AUTO count: 2 } ]

# Only looked at for instances on a GPU. FP32, because coordinates in FP16 are a quarter of a pixel apart.
optimization {
  execution_accelerators {
    gpu_execution_accelerator [
      {
        name: "tensorrt"
        parameters { key: "precision_mode" value: "FP32" }
        parameters { key: "max_workspace_size_bytes" value: "1073741824" }
      }
    ]
  }
}

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


def config(
    model: Model, prepared: onnx.ModelProto, *, origin: str = FROM_MANIFEST, labels: str = LABELS
) -> str:
    """The text of config.pbtxt for a prepared model.

    Args:
        model: names the weights and their classes.
        prepared: gives inputs and outputs.
        origin: a sentence for the top of the file.
        labels: file of the labels, from the model's folder.
    """
    batch, queue = LIMITS[model.slot]
    inputs = prepared.graph.input
    sizes = [1, batch, *range(2, batch)]
    return CONFIG.substitute(
        title=model.title,
        origin=origin,
        slot=model.slot,
        batch=batch,
        queue=queue,
        inputs=_tensors(inputs, labels),
        outputs=_tensors(prepared.graph.output, labels),
        warmup=",\n".join(_warmup(inputs, size) for size in sizes),
        sha256=model.require_sha256(),
        parameters="\n".join(
            f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
            for key, value in _parameters(model)
        ),
    )


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

"""Triton's messages: a request made of arrays or of places in shared memory, and an answer read as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator.errors import InferenceInvalid, InferenceOutdated
from orchestrator.inference.outgoing import Buffer
from orchestrator.inference.shared_memory import Slot
from orchestrator.ports import ModelVersion

Array = NDArray[Any]
Message = Any  # protobuf's classes are generated at run time

# How an element of `raw_input_contents` begins. Serialised parts of a message may be joined, so pixels are not copied
# into a message first (decision 0018).
RAW_CONTENT = bytes([service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])
DTYPES = {"UINT8": np.uint8, "FP32": np.float32, "INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a model; the batch dimension and others of free length are -1."""

    name: str
    shape: tuple[int, ...]
    datatype: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the server describes it; `parameters` are those of its config.pbtxt."""

    version: ModelVersion
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]

    def output(self, name: str) -> TensorSpec:
        """Raises InferenceInvalid if the model has no such output."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise InferenceInvalid(
            f"model {self.version.name} has no output {name}; run `fess models prepare` and restart Triton"
        )


def matched(model: ServedModel, tensors: Array | Mapping[str, Array]) -> Mapping[str, Array]:
    """The tensors by the names of the model's inputs. Raises InferenceInvalid unless they are those it takes."""
    given = tensors if isinstance(tensors, Mapping) else {model.inputs[0].name: tensors}
    wanted = {spec.name: DTYPES.get(spec.datatype) for spec in model.inputs}
    if {name: tensor.dtype for name, tensor in given.items()} != wanted:
        raise InferenceInvalid(
            f"model {model.version.name} takes {', '.join(f'{s.name} {s.datatype}' for s in model.inputs)},"
            f" not {', '.join(f'{name} {tensor.dtype}' for name, tensor in given.items())}"
        )
    return given


def infer_request(
    model: ServedModel,
    tensors: Mapping[str, Array],
    *,
    request_id: str,
    timeout_us: int,
    slot: Slot | None,
) -> list[Buffer]:
    """One inference, serialised; the tensors' bytes go into the slot where there is one, else they follow as parts."""
    head = service_pb2.ModelInferRequest(
        model_name=model.version.name, model_version=model.version.version, id=request_id
    )
    head.parameters["timeout"].int64_param = timeout_us
    arrays = [tensors[spec.name] for spec in model.inputs]
    places = None if slot is None else slot.put(arrays)
    for number, (spec, tensor) in enumerate(zip(model.inputs, arrays, strict=True)):
        given = head.inputs.add(name=spec.name, datatype=spec.datatype, shape=tensor.shape)
        if places is not None and slot is not None:
            given.parameters["shared_memory_region"].string_param = slot.region
            given.parameters["shared_memory_byte_size"].int64_param = tensor.nbytes
            given.parameters["shared_memory_offset"].int64_param = places[number]
    parts: list[Buffer] = [head.SerializeToString()]
    if slot is None:
        for tensor in arrays:
            flat = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
            parts += (RAW_CONTENT + _varint(tensor.nbytes), flat.data)
    return parts


def _varint(number: int) -> bytes:
    """As protobuf writes a length."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def answered(
    model: ServedModel, response: Message, names: tuple[str, ...], *, request_id: str, batch: int
) -> tuple[Array, ...]:
    """The outputs asked for, read-only, of the shape and type announced, without NaN.

    Raises InferenceInvalid; InferenceOutdated where another version answered.
    """
    if response.id != request_id:
        raise InferenceInvalid(f"Triton answered {model.version.name} with another request's id")
    if response.model_version != model.version.version:
        raise InferenceOutdated(
            f"model {model.version.name}: version {response.model_version} answered for {model.version.version}"
        )
    found = {
        output.name: (output, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=False)
    }
    return tuple(_checked(model, found.get(name), name, batch) for name in names)


def specs(tensors: Message) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(t.name, tuple(int(n) for n in t.shape), t.datatype) for t in tensors)


def _checked(
    model: ServedModel, found: tuple[Message, bytes] | None, name: str, batch: int
) -> Array:
    spec = model.output(name)
    if found is None:
        raise InferenceInvalid(f"model {model.version.name} gave no output {name}")
    output, content = found
    shape, expected = tuple(output.shape), (batch, *spec.shape[1:])
    fits = len(shape) == len(expected) and all(
        want in (-1, got) for want, got in zip(expected, shape, strict=True)
    )
    dtype = DTYPES.get(spec.datatype)
    if not fits or dtype is None or output.datatype != spec.datatype:
        raise InferenceInvalid(
            f"model {model.version.name}: output {name} is {output.datatype} {shape},"
            f" announced was {spec.datatype} {expected}"
        )
    try:
        array: Array = np.frombuffer(content, dtype).reshape(shape)
    except ValueError as error:
        raise InferenceInvalid(
            f"model {model.version.name}: output {name} has {len(content)} bytes, too many or too few"
        ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InferenceInvalid(f"model {model.version.name}: output {name} holds NaN or infinity")
    return array

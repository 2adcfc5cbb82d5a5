"""Triton's messages: a request made of arrays or of places in shared memory, and an answer read as arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator.errors import InferenceInvalid, InferenceOutdated
from orchestrator.inference.shared_memory import Slot
from orchestrator.inference.stream import Buffer
from orchestrator.ports import ModelVersion

Array = NDArray[Any]
Message = Any  # protobuf's classes are generated at run time

# How an element of `raw_input_contents` begins. Serialised parts of a message may be joined, so pixels are not copied
# into a message first (decision 0018).
RAW_CONTENT = bytes([service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])
DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "FP32": np.dtype(np.float32),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
}
# Of what one request says as the last did: models, batch sizes, slots of shared memory.
REMEMBERED = 1024


class TensorSpec(NamedTuple):
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
    given = {model.inputs[0].name: tensors} if isinstance(tensors, np.ndarray) else tensors
    fits = len(given) == len(model.inputs)
    for spec in model.inputs:
        tensor, dtype = given.get(spec.name), DTYPES.get(spec.datatype)
        # To NumPy, None is the same as float64.
        fits = fits and tensor is not None and dtype is not None and tensor.dtype == dtype
    if not fits:
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
    arrays = [tensors[spec.name] for spec in model.inputs]
    places = None if slot is None else (slot.region, *slot.put(arrays))
    own = service_pb2.ModelInferRequest(id=request_id)
    own.parameters["timeout"].int64_param = timeout_us
    # Messages that stand one after the other are read as one (decision 0018).
    shapes = tuple([array.shape for array in arrays])
    head = _head(model.version.name, model.version.version, model.inputs, shapes, places)
    head += own.SerializeToString()
    if slot is not None:
        return [head]
    parts: list[Buffer] = [head]
    for tensor in arrays:
        flat = tensor.reshape(-1).view(np.uint8)
        parts += (_before_content(tensor.nbytes), flat.data)
    return parts


@lru_cache(maxsize=REMEMBERED)
def _head(
    model: str,
    version: str,
    inputs: tuple[TensorSpec, ...],
    shapes: tuple[tuple[int, ...], ...],
    places: tuple[str, *tuple[int, ...]] | None,
) -> bytes:
    """What every request of this kind says; places: the region, and where in it each tensor begins."""
    head = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for number, (spec, shape) in enumerate(zip(inputs, shapes, strict=True)):
        given = head.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        if places is not None:
            size = math.prod(shape) * DTYPES[spec.datatype].itemsize
            given.parameters["shared_memory_region"].string_param = places[0]
            given.parameters["shared_memory_byte_size"].int64_param = size
            given.parameters["shared_memory_offset"].int64_param = places[1 + number]
    return bytes(head.SerializeToString())


@lru_cache(maxsize=REMEMBERED)
def _before_content(size: int) -> bytes:
    """What says that so many bytes of a tensor follow."""
    return RAW_CONTENT + _varint(size)


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
    found = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=False):
        found[output.name] = output, content
    return tuple([_checked(model, found.get(name), name, batch) for name in names])


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
    dtype = DTYPES.get(spec.datatype)
    if dtype is None or output.datatype != spec.datatype or not _fits(shape, expected):
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
    if dtype.kind == "f" and not np.logical_and.reduce(np.isfinite(array), axis=None):
        raise InferenceInvalid(f"model {model.version.name}: output {name} holds NaN or infinity")
    return array


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    if shape == expected:
        return True
    return len(shape) == len(expected) and all(
        want in (-1, got) for want, got in zip(expected, shape, strict=True)
    )

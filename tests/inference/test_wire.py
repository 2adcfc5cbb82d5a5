"""A request joined from parts is, to whoever parses it, the message that protobuf builds as a whole."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from orchestrator.errors import InferenceInvalid
from orchestrator.inference.shared_memory import Region, room_for
from orchestrator.inference.sharing_notes import PREFIX
from orchestrator.inference.wire import DTYPES, ServedModel, TensorSpec, infer_request, matched
from orchestrator.ports import ModelVersion

NAME = f"{PREFIX}test-wire"
Tensors = Mapping[str, NDArray[Any]]
# Where a length takes another byte.
LENGTHS = (0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152)


def taking(tensors: Tensors) -> ServedModel:
    kinds = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    specs = tuple(TensorSpec(n, t.shape, kinds[t.dtype]) for n, t in tensors.items())
    return ServedModel(ModelVersion("object_detector", "7", ""), specs, (), {})


def as_a_whole(model: ServedModel, tensors: Tensors, request_id: str, timeout_us: int) -> Any:
    request = service_pb2.ModelInferRequest(
        model_name="object_detector", model_version="7", id=request_id
    )
    request.parameters["timeout"].int64_param = timeout_us
    for spec in model.inputs:
        shape = tensors[spec.name].shape
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        request.raw_input_contents.append(tensors[spec.name].tobytes())
    return request


def parsed(model: ServedModel, tensors: Tensors, request_id: str, timeout_us: int) -> Any:
    parts = infer_request(model, tensors, request_id=request_id, timeout_us=timeout_us, slot=None)
    return service_pb2.ModelInferRequest.FromString(b"".join(parts))


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Any type and shape, also without elements, and as a view that is not contiguous."""
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    dtype = np.dtype(draw(st.sampled_from(list(DTYPES.values()))))
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


@given(
    tensors=st.dictionaries(st.text(max_size=8), arrays(), max_size=3),
    request_id=st.text(max_size=12),
    timeout_us=st.integers(1, 2**62),
)
def test_any_request_is_the_message_built_as_a_whole(
    tensors: Tensors, request_id: str, timeout_us: int
) -> None:
    model = taking(tensors)
    assert parsed(model, tensors, request_id, timeout_us) == as_a_whole(
        model, tensors, request_id, timeout_us
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_content_of_any_length_is_told_from_what_follows(length: int) -> None:
    tensors: Tensors = {
        "images": np.arange(length, dtype=np.uint8),
        "colour": np.ones((1, 3, 4), np.float32),
    }
    model = taking(tensors)
    assert parsed(model, tensors, "1", 1) == as_a_whole(model, tensors, "1", 1)


@pytest.fixture
def region() -> Iterator[Region]:
    region = Region(NAME, room_for([np.zeros(100, np.uint8)]), 1)
    yield region
    region.unlink()


def test_pixels_in_shared_memory_are_named_and_not_sent(region: Region) -> None:
    tensors: Tensors = {"images": np.ones(100, np.uint8)}
    parts = infer_request(
        taking(tensors), tensors, request_id="1", timeout_us=1, slot=region.take()
    )
    request = service_pb2.ModelInferRequest.FromString(b"".join(parts))
    assert not request.raw_input_contents
    named = request.inputs[0].parameters
    assert named["shared_memory_region"].string_param == NAME
    assert named["shared_memory_byte_size"].int64_param == 100


@pytest.mark.parametrize("datatype", ["FP64", "BOOL"])
def test_a_type_that_is_not_spoken_fits_no_tensor(datatype: str) -> None:
    inputs = (TensorSpec("images", (-1, 4), datatype),)
    model = ServedModel(ModelVersion("object_detector", "7", ""), inputs, (), {})
    with pytest.raises(InferenceInvalid, match=datatype):
        matched(model, np.zeros((1, 4), np.float64))


def test_a_slot_that_comes_again_is_named_as_the_first_time(region: Region) -> None:
    tensors: Tensors = {"images": np.ones(100, np.uint8)}
    model, slot = taking(tensors), region.take()
    first, again = (
        service_pb2.ModelInferRequest.FromString(
            b"".join(infer_request(model, tensors, request_id=name, timeout_us=1, slot=slot))
        )
        for name in ("1", "2")
    )
    assert (first.id, again.id) == ("1", "2")
    assert first.inputs == again.inputs

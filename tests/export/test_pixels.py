"""RGB bytes at the door: convolved as they lie, to the sums that planes give."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graphs.editor import FLOAT, UINT8, GraphEditor, batched, named
from export.graphs.pixels import take_rgb_bytes
from export.manifest import Preprocessing

Floats = NDArray[np.float32]
HEIGHT, WIDTH = 12, 16


def convolution(kernel: Floats, **attributes: Any) -> onnx.ModelProto:
    """A network that is its first convolution."""
    shape: list[str | int | None] = ["batch", 3, HEIGHT, WIDTH]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "kernel"], ["features"], "first", **attributes)],
        "convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def size(
    color: str = "BGR", mean: tuple[float, float, float] = (103.5, 116.3, 123.7)
) -> Preprocessing:
    return Preprocessing.model_validate(
        {"width": WIDTH, "height": HEIGHT, "color": color, "resize": "letterbox"}
        | {"mean": mean, "std": (57.4, 57.1, 58.4)}
    )


def edited(source: onnx.ModelProto, wanted: Preprocessing) -> onnx.ModelProto:
    editor = GraphEditor(source)
    added = take_rgb_bytes(editor, "images", wanted)
    return editor.finish(
        [batched("images", UINT8, HEIGHT, WIDTH, 3)],
        [(named("features"), batched("features", FLOAT, "c", "h", "w"))],
        prepend=added,
        source_sha256="0" * 64,
    )


def run(network: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> Floats:
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {name: value})[0], np.float32)


def check(source: onnx.ModelProto, wanted: Preprocessing, batch: int) -> onnx.ModelProto:
    """Against the untouched network, given what its publisher would give it."""
    images = np.random.default_rng(batch).integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)
    colours = images[..., ::-1] if wanted.color == "BGR" else images
    scaled = (colours - np.array(wanted.mean)) / np.array(wanted.std)
    expected = run(source, "input", scaled.transpose(0, 3, 1, 2).astype(np.float32))
    network = edited(source, wanted)
    found = run(network, "images", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return network


def kinds(network: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in network.graph.node]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    edges=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    batch=st.sampled_from([1, 3, 8]),
    color=st.sampled_from(["RGB", "BGR"]),
)
def test_pixels_are_never_turned_into_planes(
    seed: int,
    edges: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    batch: int,
    color: str,
) -> None:
    kernel = np.random.default_rng(seed).normal(size=(4, 3, *edges)).astype(np.float32)
    source = convolution(kernel, kernel_shape=edges, strides=strides, pads=pads)
    network = check(source, size(color), batch)
    assert kinds(network) == ["Reshape", "Cast", "Sub", "Conv", "Identity"]


def test_a_mean_of_zero_is_not_subtracted() -> None:
    kernel = np.ones((4, 3, 3, 3), np.float32)
    source = convolution(kernel, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    assert "Sub" not in kinds(check(source, size(mean=(0, 0, 0)), 1))


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 3], "dilations": [2, 2]},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {},
    ],
    ids=["gaps in its kernel", "padding by a rule", "a shape that only its kernel has"],
)
def test_a_convolution_that_cannot_be_told_to_gets_planes(attributes: dict[str, Any]) -> None:
    kernel = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32)
    network = check(convolution(kernel, **attributes), size(), 2)
    assert kinds(network) == ["Cast", "Transpose", "Sub", "Conv", "Identity"]

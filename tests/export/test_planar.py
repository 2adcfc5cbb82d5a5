"""Planar YUV through an edited graph is the same sum as RGB through the untouched one; a reference in NumPy says so."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graphs.editor import FLOAT, GraphEditor, batched, named
from export.graphs.planar import take_planes
from export.manifest import Model, Preprocessing
from orchestrator.errors import ModelError
from orchestrator.planes import Planes, colour_of
from tests.export.test_rows import MODEL

Floats = NDArray[np.float32]
SIDE = 16


def model(color: str = "BGR", side: int = SIDE) -> Model:
    size = Preprocessing.model_validate(
        {"width": side, "height": side, "color": color, "resize": "letterbox"}
        | {"mean": (103.5, 116.3, 123.7), "std": (57.4, 57.1, 58.4)}
    )
    return MODEL.model_copy(update={"preprocessing": size})


def convolution(kernel: Floats, bias: Floats, **attributes: Sequence[int]) -> onnx.ModelProto:
    """A network that is its first convolution and nothing else."""
    form: dict[str, Sequence[int]] = {
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [2, 2],
        **attributes,
    }
    graph = helper.make_graph(
        [
            helper.make_node(
                "Conv", ["input", "kernel", "bias"], ["sums"], None, None, None, None, **form
            ),
            helper.make_node("Identity", ["sums"], ["features"]),
        ],
        "convolution",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4, "h2", "w2"])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def run(network: onnx.ModelProto, feed: dict[str, NDArray[np.generic]]) -> Floats:
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, feed)[0], np.float32)


def edited(source: onnx.ModelProto, wanted: Model, *, decoded: bool) -> onnx.ModelProto:
    editor = GraphEditor(source)
    planes = take_planes(editor, wanted, decoded=decoded)
    half = wanted.preprocessing.width // 2
    network = editor.finish(
        planes.inputs,
        [(named("features"), batched("features", FLOAT, 4, half, half))],
        prepend=planes.added,
        source_sha256="0" * 64,
    )
    onnx.checker.check_model(network, full_check=True)
    return network


def expected(source: onnx.ModelProto, planes: list[Planes], wanted: Model) -> Floats:
    """Colours spread and mixed, normalised as the publisher says, then the untouched network."""
    pictures = []
    for each in planes:
        chroma = each.chroma.repeat(2, axis=1).repeat(2, axis=2)
        values = np.concatenate([each.luma[None], chroma, np.ones_like(each.luma[None])])
        rgb = np.einsum("ck,khw->chw", each.colour, values.astype(np.float32))
        pictures.append(rgb[::-1] if wanted.preprocessing.color == "BGR" else rgb)
    mean = np.array(wanted.preprocessing.mean, np.float32).reshape(1, 3, 1, 1)
    deviation = np.array(wanted.preprocessing.std, np.float32).reshape(1, 3, 1, 1)
    return run(source, {"input": ((np.stack(pictures) - mean) / deviation).astype(np.float32)})


def feed_of(planes: list[Planes]) -> dict[str, NDArray[np.generic]]:
    return {
        "luma": np.stack([each.luma for each in planes]),
        "chroma": np.stack([each.chroma for each in planes]),
        "colour": np.stack([each.colour for each in planes]),
    }


def noise(chance: np.random.Generator, height: int, width: int) -> Planes:
    """Any bytes, by any standard: batches may mix them."""
    return Planes(
        chance.integers(0, 256, (height, width), np.uint8),
        chance.integers(0, 256, (2, -(-height // 2), -(-width // 2)), np.uint8),
        colour_of(
            "BT.601" if chance.integers(2) else "BT.709", full_range=bool(chance.integers(2))
        ),
    )


def some_kernel(chance: np.random.Generator) -> onnx.ModelProto:
    return convolution(
        chance.normal(size=(4, 3, 3, 3)).astype(np.float32),
        chance.normal(size=4).astype(np.float32),
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batch=st.sampled_from([1, 3, 8]),
    color=st.sampled_from(["RGB", "BGR"]),
)
def test_planes_of_the_right_size_give_what_their_colours_give(
    seed: int, batch: int, color: str
) -> None:
    chance = np.random.default_rng(seed)
    source, wanted = some_kernel(chance), model(color)
    planes = [noise(chance, SIDE, SIDE) for _ in range(batch)]
    found = run(edited(source, wanted, decoded=False), feed_of(planes))
    np.testing.assert_allclose(found, expected(source, planes, wanted), rtol=1e-4, atol=2e-4)


def areas(plane: NDArray[np.uint8], scale: float, cells: int, border: float) -> Floats:
    """Each cell is the mean of what it covers, pixel by pixel; `border` where there is nothing."""

    def shares(pixels: int) -> Floats:
        found = np.zeros((cells, pixels))
        for cell in range(cells):
            for pixel in range(pixels):
                shared = min((cell + 1) / scale, pixel + 1) - max(cell / scale, pixel)
                found[cell, pixel] = max(shared, 0) * scale
        return found.astype(np.float32)

    down, across = shares(plane.shape[0]), shares(plane.shape[1])
    beyond = 1 - np.outer(down.sum(axis=1), across.sum(axis=1))
    return np.asarray(down @ plane @ across.T + beyond * border, np.float32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(2, 50), width=st.integers(2, 50))
def test_planes_of_any_size_are_letterboxed_by_area(seed: int, height: int, width: int) -> None:
    chance = np.random.default_rng(seed)
    source, wanted = some_kernel(chance), model()
    planes = [noise(chance, height, width) for _ in range(2)]
    scale = SIDE / max(height, width)
    boxed = []
    for each in planes:
        gain, *mixing, shift = each.colour[0].tolist()
        grey = (114 - 128 * sum(mixing) - shift) / gain
        luma = areas(each.luma, scale, SIDE, grey)
        chroma = np.stack([areas(plane, scale, SIDE // 2, 128.0) for plane in each.chroma])
        boxed.append(Planes(luma, chroma, each.colour))  # type: ignore[arg-type]  # not bytes here
    found = run(edited(source, wanted, decoded=True), feed_of(planes))
    np.testing.assert_allclose(found, expected(source, boxed, wanted), rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({"strides": [1, 1]}, SIDE),
        ({"pads": [0, 0, 0, 0]}, SIDE),
        ({}, SIDE + 1),
    ],
    ids=["another stride", "no padding", "an odd size"],
)
def test_a_network_that_begins_otherwise_is_refused(
    attributes: dict[str, Sequence[int]], side: int
) -> None:
    source = convolution(np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32), **attributes)
    with pytest.raises(ModelError, match="planar pixels need"):
        take_planes(GraphEditor(source), model(side=side), decoded=False)

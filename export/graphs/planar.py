"""Planar YUV at the door of a graph that was trained on RGB, converted where it costs least: in its first convolution.

R, G and B of a pixel are its luma, times one factor, plus something that depends on chroma alone, and chroma covers two
pixels each way. So the first convolution, 3 x 3 with stride 2, is the sum of one over a single plane of
luma and one of 2 x 2 over three planes of a quarter the size. That is the same number, and less work.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graphs.area import Letterbox
from export.graphs.editor import FLOAT, UINT8, GraphEditor, batched
from export.graphs.pixels import FirstConvolution, first_convolution, take_rgb_bytes
from export.manifest import Model, Preprocessing
from orchestrator.errors import ModelError

NEUTRAL = 128.0  # chroma of grey
STEM = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """The new signature, how many nodes lead from it into the network, and where pictures are scaled, by what.

    scale  float32 [1]: pixels of the network per pixel of the picture; None where it comes in the right size
    """

    inputs: list[onnx.ValueInfoProto]
    added: int
    scale: str | None


def take_pixels(editor: GraphEditor, model: Model) -> Door:
    """Feed the graph from what the model is to take: `images` uint8 [N,H,W,3] in RGB, or planes."""
    if model.pixels != "rgb":
        return take_planes(editor, model, decoded=model.pixels == "decoded")
    size = model.preprocessing
    added = take_rgb_bytes(editor, "images", size)
    return Door([batched("images", UINT8, size.height, size.width, 3)], added, None)


def take_planes(editor: GraphEditor, model: Model, *, decoded: bool) -> Door:
    """Feed the graph from luma uint8 [N,H,W], chroma uint8 [N,2,H/2,W/2] and colour float32 [N,3,4].

    Row c of `colour` is what luma, the two chromas and 1 add to R, G or B in 0..255; its first column is the
    same in all rows, as in every YUV. H and W are the network's; where `decoded`, any: the graph letterboxes.
    Raises ModelError for a graph that begins otherwise.
    """
    size, before = model.preprocessing, len(editor.graph.node)
    first = _halving(model, first_convolution(editor, size))
    luma = editor.add("Cast", ["luma"], to=onnx.TensorProto.FLOAT)
    chroma = editor.add("Cast", ["chroma"], to=onnx.TensorProto.FLOAT)
    high: tuple[int | str, int | str] = (size.height, size.width)
    low: tuple[int | str, int | str] = (size.height // 2, size.width // 2)
    scale = None
    if decoded:
        high, low = ("H", "W"), ("h", "w")
        luma, chroma, scale = _letterboxed(editor, luma, chroma, size)
    editor.replace(first.node, _converted(editor, luma, chroma, first, size))
    inputs = [
        batched("luma", UINT8, *high),
        batched("chroma", UINT8, 2, *low),
        batched("colour", FLOAT, 3, 4),
    ]
    return Door(inputs, len(editor.graph.node) - before, scale)


def _halving(model: Model, first: FirstConvolution) -> FirstConvolution:
    """Raises ModelError unless it is the convolution that this is worked out for."""
    found = {a.name: list(a.ints) for a in first.node.attribute if a.name in STEM}
    size = model.preprocessing
    if found != STEM or size.width % 2 or size.height % 2:
        raise ModelError(
            f"{model.name}: planar pixels need a first convolution of 3 x 3 with stride 2 and an even size"
        )
    return first


def _letterboxed(
    editor: GraphEditor, luma: str, chroma: str, size: Preprocessing
) -> tuple[str, str, str]:
    if size.width != size.height:
        raise ModelError("pictures as decoded need a network with a square input")
    box = Letterbox(editor, luma, size.width)
    # The luma whose grey has the border's brightness.
    at_grey = editor.constant(np.array([[NEUTRAL], [NEUTRAL], [1.0]], np.float32))
    red = editor.add("Slice", ["colour", *_bounds(editor, 0, 1, 1)])
    shift = editor.add("MatMul", [_columns(editor, red, 1, 4), at_grey])
    wanted = editor.add("Sub", [editor.constant(np.array([size.pad], np.float32)), shift])
    border = editor.add("Div", [wanted, _columns(editor, red, 0, 1)])
    grey = editor.constant(np.array([NEUTRAL], np.float32))
    return (
        box.fit(luma, border, axes=(1, 2), cells=size.width),
        box.fit(chroma, grey, axes=(2, 3), cells=size.width // 2),
        box.scale,
    )


def _converted(
    editor: GraphEditor, luma: str, chroma: str, first: FirstConvolution, size: Preprocessing
) -> str:
    """What the first convolution gives for these planes."""
    height, width = size.height, size.width
    red = editor.add("Slice", ["colour", *_bounds(editor, 0, 1, 1)])
    bright = editor.add("Mul", [luma, _columns(editor, red, 0, 1)])
    mixed = editor.add("MatMul", [_columns(editor, "colour", 1, 3), _shaped(editor, chroma, 2, -1)])
    mean = editor.constant(first.mean.reshape(1, 3, 1))
    tint = editor.add("Add", [mixed, editor.add("Sub", [_columns(editor, "colour", 3, 4), mean])])
    over_luma = editor.constant(first.kernel.sum(axis=1, keepdims=True))
    over_tint = editor.constant(on_quarter(first.kernel))
    bias = [name for name in first.node.input[2:] if name]
    parts = (
        editor.add("Conv", [_shaped(editor, bright, 1, height, width), over_luma, *bias], **STEM),
        editor.add(
            "Conv",
            [_shaped(editor, tint, 3, height // 2, width // 2), over_tint],
            kernel_shape=[2, 2],
            pads=[1, 1, 0, 0],
            strides=[1, 1],
        ),
    )
    return editor.add("Add", parts)


def on_quarter(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a 3 x 3 kernel with stride 2 is where every value stands for 2 x 2 pixels: float32 [O,3,2,2].

    It sees rows 2i-1, 2i and 2i+1: the second of one value, and both of the next. Columns alike.
    """
    rows = np.stack([kernel[:, :, 0], kernel[:, :, 1] + kernel[:, :, 2]], axis=2)
    both = np.stack([rows[..., 0], rows[..., 1] + rows[..., 2]], axis=3)
    return np.ascontiguousarray(both, np.float32)


def _columns(editor: GraphEditor, tensor: str, start: int, stop: int) -> str:
    return editor.add("Slice", [tensor, *_bounds(editor, start, stop, 2)])


def _bounds(editor: GraphEditor, start: int, stop: int, axis: int) -> list[str]:
    return [editor.constant(np.array([value], np.int64)) for value in (start, stop, axis)]


def _shaped(editor: GraphEditor, tensor: str, *shape: int) -> str:
    return editor.add("Reshape", [tensor, editor.constant(np.array([0, *shape], np.int64))])

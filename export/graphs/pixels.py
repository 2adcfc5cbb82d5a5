"""Pixels as cameras give them at the door of a graph that was trained on something else."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graphs.editor import GraphEditor
from export.manifest import Preprocessing
from orchestrator.errors import ModelError


def take_rgb_bytes(editor: GraphEditor, name: str, preprocessing: Preprocessing) -> int:
    """Feed the graph's float input from a new one: uint8 [N,H,W,3], RGB. Returns the nodes added.

    Only the mean is subtracted at run time. Dividing by the deviation and swapping the colours are
    linear and keep zero at zero, so they go into the weights of the first convolution, also under its padding.
    """
    before = len(editor.graph.node)
    first = first_convolution(editor, preprocessing)
    if in_rows := _over_rows(first.node):
        planes, kernel = _rows(editor, name, first, preprocessing), _interleaved(first.kernel)
        _set(first.node, in_rows)
    else:
        planes, kernel = _planes(editor, name, first), first.kernel
    first.node.input[0] = planes
    first.node.input[1] = editor.constant(kernel)
    return len(editor.graph.node) - before


def _planes(editor: GraphEditor, name: str, first: "FirstConvolution") -> str:
    """Float32 [N,3,H,W]."""
    pixels = editor.add("Cast", [name], to=onnx.TensorProto.FLOAT)
    planes = editor.add("Transpose", [pixels], perm=[0, 3, 1, 2])
    return _centred(editor, planes, first.mean.reshape(1, 3, 1, 1).copy())


def _rows(editor: GraphEditor, name: str, first: "FirstConvolution", size: Preprocessing) -> str:
    """Float32 [N,1,H,3W]: the bytes as they lie, red, green and blue of a pixel side by side."""
    shape = editor.constant(np.array([0, 1, size.height, 3 * size.width], np.int64))
    rows = editor.add("Reshape", [name, shape])
    pixels = editor.add("Cast", [rows], to=onnx.TensorProto.FLOAT)
    return _centred(editor, pixels, np.tile(first.mean, size.width).reshape(1, 1, 1, -1))


def _centred(editor: GraphEditor, pixels: str, mean: NDArray[np.float32]) -> str:
    return editor.add("Sub", [pixels, editor.constant(mean)]) if mean.any() else pixels


def _over_rows(node: onnx.NodeProto) -> dict[str, list[int]]:
    """What a convolution has to be told to do the same with colours side by side; nothing where that cannot be said.

    Turning pixels into planes would cost more than all else before it.
    """
    told = {a.name: list(a.ints) for a in node.attribute if a.ints}
    height, width = told.get("kernel_shape", [0, 0])
    down, across = told.get("strides", [1, 1])
    top, left, bottom, right = told.get("pads", [0, 0, 0, 0])
    padded = any(a.s != b"NOTSET" for a in node.attribute if a.name == "auto_pad")
    if not width or padded or told.get("dilations", [1, 1]) != [1, 1]:
        return {}
    return {
        "kernel_shape": [height, 3 * width],
        "strides": [down, 3 * across],
        "pads": [top, 3 * left, bottom, 3 * right],
    }


def _interleaved(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """From float32 [O,3,h,w] to [O,1,h,3w]."""
    outputs, _, height, _ = kernel.shape
    return np.ascontiguousarray(kernel.transpose(0, 2, 3, 1).reshape(outputs, 1, height, -1))


def _set(node: onnx.NodeProto, attributes: dict[str, list[int]]) -> None:
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())


@dataclass(frozen=True, slots=True, eq=False)
class FirstConvolution:
    """Where the pixels of a graph go first, as it would be for RGB in 0..255 of which `mean` was subtracted.

    kernel  float32 (out, 3, height, width)
    mean    float32 (3,)
    """

    node: onnx.NodeProto
    kernel: NDArray[np.float32]
    mean: NDArray[np.float32]


def first_convolution(editor: GraphEditor, preprocessing: Preprocessing) -> FirstConvolution:
    """Raises ModelError where the input feeds anything else."""
    source = editor.single_input()
    fed = [node for node in editor.graph.node if source in node.input]
    node = next(iter(fed), onnx.NodeProto(op_type="nothing"))
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    kernel = editor.weights(node.input[1]) if node.op_type == "Conv" and group == 1 else None
    if kernel is None or len(fed) != 1 or node.input[0] != source or kernel.shape[1] != 3:
        kinds = " and ".join(other.op_type for other in fed)
        raise ModelError(f"the input feeds {kinds}, not a convolution over three colours")
    mean = np.array(preprocessing.mean, np.float32)
    deviation = np.array(preprocessing.std, np.float32)
    if preprocessing.color == "BGR":
        mean, deviation, kernel = mean[::-1], deviation[::-1], kernel[:, ::-1]
    folded = (kernel.astype(np.float32) / deviation.reshape(1, 3, 1, 1)).astype(np.float32)
    return FirstConvolution(node, folded, np.ascontiguousarray(mean))


def free_batch(editor: GraphEditor) -> None:
    """Let the batch dimension through every Reshape that was exported for batch 1.

    In the shape of a Reshape 0 means "as it was", which is right for axis 0 and any batch.
    """
    for node in editor.graph.node:
        if node.op_type != "Reshape":
            continue
        shape = editor.weights(node.input[1])
        if shape is not None and len(shape) > 1 and shape[0] == 1:
            freed = shape.astype(np.int64)
            freed[0] = 0
            node.input[1] = editor.constant(freed)

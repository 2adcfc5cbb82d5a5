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
    first = first_convolution(editor, preprocessing)
    pixels = editor.add("Cast", [name], to=onnx.TensorProto.FLOAT)
    planes = editor.add("Transpose", [pixels], perm=[0, 3, 1, 2])
    added = 2
    if first.mean.any():
        planes = editor.add("Sub", [planes, editor.constant(first.mean.reshape(1, 3, 1, 1).copy())])
        added += 1
    source = editor.single_input()
    for node in editor.graph.node:
        node.input[:] = [planes if tensor == source else tensor for tensor in node.input]
    first.node.input[1] = editor.constant(first.kernel)
    return added


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

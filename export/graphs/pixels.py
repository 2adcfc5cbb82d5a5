"""Pixels as cameras give them at the door of a graph that was trained on something else."""

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
    source = editor.single_input()
    pixels = editor.add("Cast", [name], to=onnx.TensorProto.FLOAT)
    planes = editor.add("Transpose", [pixels], perm=[0, 3, 1, 2])
    mean = np.array(preprocessing.mean, np.float32)
    deviation = np.array(preprocessing.std, np.float32)
    bgr = preprocessing.color == "BGR"
    if bgr:
        mean, deviation = mean[::-1], deviation[::-1]
    added = 2
    if mean.any():
        planes = editor.add("Sub", [planes, editor.constant(mean.reshape(1, 3, 1, 1).copy())])
        added += 1
    for node in list(editor.graph.node):
        for position, tensor in enumerate(node.input):
            if tensor == source:
                node.input[position] = planes
                _fold(editor, node, position, deviation, bgr=bgr)
    return added


def _fold(
    editor: GraphEditor,
    node: onnx.NodeProto,
    position: int,
    deviation: NDArray[np.float32],
    *,
    bgr: bool,
) -> None:
    if node.op_type == "Shape":
        return
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    kernel = editor.weights(node.input[1]) if node.op_type == "Conv" and group == 1 else None
    if kernel is None or position != 0 or kernel.shape[1] != 3:
        raise ModelError(f"the input feeds {node.op_type}, not a convolution over three colours")
    if bgr:
        kernel = kernel[:, ::-1]
    folded = (kernel.astype(np.float32) / deviation.reshape(1, 3, 1, 1)).astype(np.float32)
    node.input[1] = editor.constant(folded)


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

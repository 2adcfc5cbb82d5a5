"""Whether two parts of a graph find the same candidates, tried out on numbers by ONNX's own reference."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from export.graphs.editor import FLOAT, GraphEditor

Floats = NDArray[np.float32]
# Corners in pixels: they are sums of at most some thousand. Scores are computed by the same function.
BOX_PX, SCORE = 1e-3, 1e-6


def agree(
    editor: GraphEditor,
    given: Mapping[str, Floats],
    own: tuple[str, str],
    ours: tuple[str, str],
) -> bool:
    """Whether boxes [N,M,4] and scores [N,C,M] are the same, best first; of ours there may be more.

    False as well where something cannot be computed from what is given.
    """
    part = _part(editor, given, [*own, *ours])
    if part is None:
        return False
    try:
        values = ReferenceEvaluator(part).run(None, dict(given))
        return _same(*(np.asarray(each) for each in values))
    except (
        Exception
    ):  # an operator that it does not know, shapes that do not fit: not this kind of graph
        return False


def _same(boxes: Floats, scores: Floats, our_boxes: Floats, our_scores: Floats) -> bool:
    most = boxes.shape[1]
    boxes, scores = _best_first(boxes, scores)
    our_boxes, our_scores = _best_first(our_boxes, our_scores)
    return (
        most > 0
        and boxes.shape == our_boxes[:, :most].shape
        and scores.shape == our_scores[:, :, :most].shape
        and np.allclose(boxes, our_boxes[:, :most], rtol=0, atol=BOX_PX)
        and np.allclose(scores, our_scores[:, :, :most], rtol=0, atol=SCORE)
    )


def _best_first(boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(-scores.max(axis=1), axis=1, kind="stable")
    return (
        np.take_along_axis(boxes, order[:, :, np.newaxis], axis=1),
        np.take_along_axis(scores, order[:, np.newaxis], axis=2),
    )


def _part(
    editor: GraphEditor, given: Mapping[str, Floats], wanted: Iterable[str]
) -> onnx.ModelProto | None:
    """What leads from the given tensors to the wanted ones, or None where more than these is needed."""
    names = list(wanted)
    needed, nodes = set(names), []
    for node in reversed(editor.graph.node):
        if needed.intersection(node.output) - given.keys():
            needed.update(name for name in node.input if name)
            nodes.append(node)
    made = {name for node in nodes for name in node.output}
    weights = [tensor for tensor in editor.graph.initializer if tensor.name in needed]
    if needed - made - given.keys() - {tensor.name for tensor in weights}:
        return None
    graph = helper.make_graph(
        nodes[::-1],
        "part",
        [helper.make_tensor_value_info(name, FLOAT, each.shape) for name, each in given.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in names],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", editor.opset)])

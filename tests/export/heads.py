"""Small detectors that end as MMDeploy's exports of RTMDet end, and some that nearly do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Head:
    """How the network's answers become boxes and scores.

    offset      of the points that distances count from, in cells
    grown       whether distances are exponentials, as in the larger networks
    scaled      whether distances are in strides
    clipped     whether boxes end at the edge of the picture, as the project's own export has it
    candidates  how many of the best are left before any is suppressed; None: all, in their order
    doubled     whether scores are squared, as no RTMDet does
    borrowed    whether boxes depend on features as well, as no RTMDet does
    """

    classes: int = 3
    side: int = 96
    offset: float = 0.0
    grown: bool = False
    scaled: bool = True
    clipped: bool = False
    candidates: int | None = 120
    doubled: bool = False
    borrowed: bool = False
    opset: int = 11


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self._chance = np.random.default_rng(3)

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{kind}{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, inputs, names, f"{kind}{len(self.nodes)}", **attributes)
        )
        return names[-1]

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def convolve(self, tensor: str, inputs: int, outputs: int, edge: int, stride: int) -> str:
        shape = (outputs, inputs, edge, edge)
        kernel = self._chance.normal(0, 1.5 / edge, shape).astype(np.float32)
        form: dict[str, Any] = {
            "kernel_shape": [edge] * 2,
            "pads": [edge // 2] * 4,
            "strides": [stride] * 2,
        }
        return self.add("Conv", tensor, self.constant(kernel), **form)


def ending(head: Head) -> onnx.ModelProto:
    """Of random weights, for pictures of head.side in BGR."""
    graph = _Graph()
    features = graph.add("Tanh", graph.convolve("input", 3, 4, 3, 2))
    logits, distances = [], []
    for stride, step in zip(STRIDES, (4, 2, 2), strict=True):
        features = graph.add("Tanh", graph.convolve(features, 4, 4, 5, step))
        logits.append(_flat(graph, graph.convolve(features, 4, head.classes, 1, 1), head.classes))
        distance = graph.convolve(features, 4, 4, 1, 1)
        if head.grown:
            distance = graph.add("Exp", distance)
        if head.scaled:
            factor = graph.constant(np.array(stride, np.float32))
            distance = graph.add("Mul", distance, factor)
        distances.append(_flat(graph, distance, 4))
    scores = graph.add("Sigmoid", graph.add("Concat", *logits, axis=1))
    if head.doubled:
        scores = graph.add("Mul", scores, scores)
    boxes = _boxes(graph, head, graph.add("Concat", *distances, axis=1))
    if head.borrowed:
        most = graph.add("ReduceMax", features, axes=[1, 2, 3], keepdims=0)
        boxes = graph.add("Add", boxes, graph.add("Unsqueeze", most, axes=[1, 2]))
    if head.candidates is not None:
        boxes, scores = _best(graph, head, boxes, scores)
    by_class = graph.add("Transpose", scores, perm=[0, 2, 1])
    limits = [graph.constant(np.array([value])) for value in (100, np.float32(0.5), np.float32(0))]
    graph.add("NonMaxSuppression", boxes, by_class, *limits)
    return _model(graph, head)


def _flat(graph: _Graph, tensor: str, channels: int) -> str:
    turned = graph.add("Transpose", tensor, perm=[0, 2, 3, 1])
    return graph.add("Reshape", turned, graph.constant(np.array([0, -1, channels], np.int64)))


def _boxes(graph: _Graph, head: Head, distances: str) -> str:
    cells = [np.mgrid[0 : head.side // s, 0 : head.side // s] + head.offset for s in STRIDES]
    points = [
        each[::-1].reshape(2, -1).T * stride for each, stride in zip(cells, STRIDES, strict=True)
    ]
    corners = graph.constant(np.tile(np.concatenate(points), 2).astype(np.float32))
    signs = graph.constant(np.array([-1, -1, 1, 1], np.float32))
    boxes = graph.add("Add", corners, graph.add("Mul", distances, signs))
    if head.clipped:
        ends = [graph.constant(np.array(value, np.float32)) for value in (0, head.side)]
        boxes = graph.add("Clip", boxes, *ends)
    return boxes


def _best(graph: _Graph, head: Head, boxes: str, scores: str) -> tuple[str, str]:
    """Candidates of all pictures are numbered through, as MMDeploy does it."""
    zero, one = (graph.constant(np.array(value, np.int64)) for value in (0, 1))
    total = graph.constant(np.array(sum((head.side // stride) ** 2 for stride in STRIDES)))
    batch = graph.add("Gather", graph.add("Shape", scores), zero, axis=0)
    first = graph.add("Mul", graph.add("Range", zero, batch, one), total)
    best = graph.add("ReduceMax", scores, axes=[2], keepdims=0)
    most = graph.constant(np.array([head.candidates], np.int64))
    place = graph.add("TopK", best, most, outputs=2, axis=1)
    number = graph.add("Add", place, graph.add("Unsqueeze", first, axes=[1]))
    picked = []
    for values, width in ((boxes, 4), (scores, head.classes)):
        shape = graph.constant(np.array([-1, width], np.int64))
        picked.append(graph.add("Gather", graph.add("Reshape", values, shape), number, axis=0))
    return picked[0], picked[1]


def _model(graph: _Graph, head: Head) -> onnx.ModelProto:
    shape: list[str | int | None] = ["batch", 3, head.side, head.side]
    rows = graph.nodes[-1].output[0]
    made = helper.make_graph(
        graph.nodes,
        "ending",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(rows, TensorProto.INT64, ["rows", 3])],
        graph.weights,
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", head.opset)], ir_version=6
    )

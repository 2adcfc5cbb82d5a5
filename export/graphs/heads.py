"""Where RTMDet proper ends: logits and distances of three grids, decoded with constants.

MMDeploy's export makes the cells' corners at run time from shapes, turns every grid, and sorts all candidates before
any is suppressed: a hundred nodes for what a product and a sum with constants say as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graphs.agreement import agree
from export.graphs.editor import GraphEditor
from export.manifest import Preprocessing

STRIDES = (8, 16, 32)
TURNED = [0, 2, 3, 1]
CLIP_BY_INPUTS = 11  # the opset from which Clip takes its limits as inputs
Floats = NDArray[np.float32]
By = Mapping[str, onnx.NodeProto]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Names of tensors: boxes float32 [N,M,4], two opposite corners each; scores float32 [N,C,M]."""

    boxes: str
    scores: str


@dataclass(frozen=True, slots=True)
class Grids:
    """Names of tensors float32 [N,...,H,W], one a stride.

    logits     of C classes
    distances  left, up, right and down from the corner of each cell, in units of `factors`
    """

    logits: tuple[str, ...]
    distances: tuple[str, ...]
    factors: tuple[float, ...]
    classes: int


def candidates(editor: GraphEditor, suppression: onnx.NodeProto, size: Preprocessing) -> Candidates:
    """What is suppressed, decoded with constants where the graph is seen to compute the same; else its own.

    Args:
        editor: pixels are at its door already.
        suppression: the graph's own; it is not needed any more after this.
        size: of the pictures that the network takes.
    """
    own = Candidates(*suppression.input[:2])
    grids = _grids(editor)
    side = size.width
    if grids is None or editor.opset < CLIP_BY_INPUTS or side != size.height or side % STRIDES[-1]:
        return own
    given = _given(grids, side)
    for clipped in (False, True):
        ours = _decoded(editor, grids, side, clipped=clipped)
        if agree(editor, given, (own.boxes, own.scores), (ours.boxes, ours.scores)):
            return ours
    return own


def _decoded(editor: GraphEditor, grids: Grids, side: int, *, clipped: bool) -> Candidates:
    scores = editor.add("Sigmoid", [_joined(editor, grids.logits)])
    corners, reach = _constants(grids.factors, side)
    reached = editor.add("Mul", [_joined(editor, grids.distances), editor.constant(reach)])
    boxes = editor.add("Add", [reached, editor.constant(corners)])
    if clipped:
        limits = [editor.constant(np.array(value, np.float32)) for value in (0, side)]
        boxes = editor.add("Clip", [boxes, *limits])
    return Candidates(editor.add("Transpose", [boxes], perm=[0, 2, 1]), scores)


def _joined(editor: GraphEditor, levels: tuple[str, ...]) -> str:
    """Grids one after the other, row by row: float32 [N,...,M]."""
    shape = editor.constant(np.array([0, 0, -1], np.int64))
    return editor.add("Concat", [editor.add("Reshape", [each, shape]) for each in levels], axis=2)


def _constants(factors: tuple[float, ...], side: int) -> tuple[Floats, Floats]:
    """Corner of each candidate's cell, twice, and what its distances count towards it: float32 [1,4,M] both."""
    corners, reach = [], []
    for stride, factor in zip(STRIDES, factors, strict=True):
        y, x = np.mgrid[0 : side // stride, 0 : side // stride] * stride
        corners.append(np.stack([x.ravel(), y.ravel()] * 2))
        reach.append(np.outer([-factor, -factor, factor, factor], np.ones(x.size)))
    return _one_picture(corners), _one_picture(reach)


def _one_picture(levels: list[NDArray[Any]]) -> Floats:
    return np.concatenate(levels, axis=1)[np.newaxis].astype(np.float32)


def _given(grids: Grids, side: int) -> dict[str, Floats]:
    """Numbers that a network might answer, for two pictures.

    No two candidates of a picture are equally good, so that their order is no matter of taste; and boxes go beyond
    the picture on all sides, so that it is seen what becomes of these.
    """
    chance = np.random.default_rng(0)
    edges = [side // stride for stride in STRIDES]
    total = sum(edge * edge for edge in edges)
    logits = chance.uniform(-9, -5, (2, grids.classes, total))
    best = chance.permuted(np.tile(np.linspace(-4, 4, total), (2, 1)), axis=1)
    np.put_along_axis(logits, chance.integers(grids.classes, size=(2, 1, total)), best[:, None], 1)
    distances = chance.uniform(-1, 60, (2, 4, total))
    ends = np.cumsum([edge * edge for edge in edges])[:-1]
    return {
        name: part.reshape(2, -1, edge, edge).astype(np.float32)
        for names, values in ((grids.logits, logits), (grids.distances, distances))
        for name, part, edge in zip(names, np.split(values, ends, axis=2), edges, strict=True)
    }


def _grids(editor: GraphEditor) -> Grids | None:
    """The six answers of the network, or None where it does not end in such."""
    by = {name: node for node in editor.graph.node for name in node.output}
    found: dict[str, tuple[str, ...]] = {}
    for node in editor.graph.node:
        levels = tuple(_turned(by, node))
        if len(levels) == len(STRIDES) == len(node.input):
            users = [user.op_type for user in editor.graph.node if node.output[0] in user.input]
            found["logits" if users == ["Sigmoid"] else "distances"] = levels
    if found.keys() != {"logits", "distances"}:
        return None
    classes = {_classes(editor, by.get(name)) for name in found["logits"]}
    scaled = [_scaled(editor, by, name) for name in found["distances"]]
    if len(classes) != 1 or 0 in classes:
        return None
    distances, factors = zip(*scaled, strict=True)
    return Grids(found["logits"], distances, factors, classes.pop())


def _turned(by: By, node: onnx.NodeProto) -> Iterator[str]:
    """What goes into a Concat, each turned to have its channels last and flattened."""
    for name in node.input if node.op_type == "Concat" else ():
        flat = by.get(name)
        turned = by.get(flat.input[0]) if flat is not None and flat.op_type == "Reshape" else None
        if (
            turned is not None
            and turned.op_type == "Transpose"
            and [list(a.ints) for a in turned.attribute] == [TURNED]
        ):
            yield turned.input[0]


def _classes(editor: GraphEditor, node: onnx.NodeProto | None) -> int:
    """Channels that a convolution answers; 0 where it is none."""
    kernel = editor.weights(node.input[1]) if node is not None and node.op_type == "Conv" else None
    return 0 if kernel is None else len(kernel)


def _scaled(editor: GraphEditor, by: By, name: str) -> tuple[str, float]:
    """The tensor that is multiplied by one constant, and that one; any other as it is."""
    node = by.get(name)
    if node is not None and node.op_type == "Mul":
        for tensor, factor in (node.input, node.input[::-1]):
            value = editor.weights(factor)
            if value is not None and value.size == 1:
                return tensor, float(value.item())
    return name, 1.0

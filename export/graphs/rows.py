"""Suppression of repeats and finished rows: a fixed number for each picture, and how many of them count."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.graphs.editor import GraphEditor


@dataclass(frozen=True, slots=True)
class Selection:
    """Names of tensors; rows are sorted by score, rows beyond `count` are 0.

    count   int32 [N,1]
    scores  float32 [N,rows]
    labels  int32 [N,rows]
    index   int64 [N,rows,1]  which candidate a row is
    mask    float32 [N,rows,1]  1 for the rows that count
    """

    count: str
    scores: str
    labels: str
    index: str
    mask: str


def select(
    editor: GraphEditor, boxes: str, scores: str, *, rows: int, iou: float, score: float
) -> Selection:
    """Class-wise non-maximum suppression, then the best rows over all classes of each picture.

    Args:
        editor: the graph that is extended.
        boxes: float32 [N,M,4], two opposite corners each.
        scores: float32 [N,C,M].
        rows: of every picture in the result; at most C x M.
        iou: intersection over union above which the weaker box goes.
        score: candidates below it are not looked at.
    """
    kept = _suppress(editor, boxes, scores, rows=rows, iou=iou, score=score)
    flat = editor.add("Flatten", [kept], axis=1)
    best = editor.add("TopK", [flat, editor.constant(np.array([rows], np.int64))], axis=1, sorted=1)
    place = editor.graph.node[-1].output
    place.append(f"{best}_place")
    candidates = editor.add(
        "Gather",
        [editor.add("Shape", [scores]), editor.constant(np.array(2, np.int64))],
        axis=0,
    )
    label = editor.add("Div", [place[1], candidates])
    index = editor.add("Sub", [place[1], editor.add("Mul", [label, candidates])])
    zero = editor.constant(np.array(0, np.float32))
    counts = editor.add("Greater", [best, zero])
    counted = editor.add("Cast", [counts], to=TensorProto.INT32)
    column = editor.constant(np.array([0, rows, 1], np.int64))
    return Selection(
        count=editor.reduce("ReduceSum", counted, axis=1),
        scores=best,
        labels=editor.add("Mul", [editor.add("Cast", [label], to=TensorProto.INT32), counted]),
        index=editor.add("Reshape", [index, column]),
        mask=editor.add("Reshape", [editor.add("Cast", [counts], to=TensorProto.FLOAT), column]),
    )


def pick(editor: GraphEditor, selection: Selection, values: str, *, width: int) -> str:
    """The rows of `values` (float32 [N,M,width]) that were selected: float32 [N,rows,width]."""
    wide = editor.constant(np.array([1, 1, width], np.int64))
    index = editor.add("Expand", [selection.index, wide])
    picked = editor.add("GatherElements", [values, index], axis=1)
    return editor.add("Mul", [picked, selection.mask])


def _suppress(
    editor: GraphEditor, boxes: str, scores: str, *, rows: int, iou: float, score: float
) -> str:
    """Scores of the boxes that survive, 0 for all others: float32 [N,C,M]."""
    limits = [
        editor.constant(np.array([rows], np.int64)),
        editor.constant(np.array([iou], np.float32)),
        editor.constant(np.array([score], np.float32)),
    ]
    survivors = editor.add("NonMaxSuppression", [boxes, scores, *limits])
    nothing = editor.add("Mul", [scores, editor.constant(np.array(0, np.float32))])
    values = editor.add("GatherND", [scores, survivors])
    return editor.add("ScatterND", [nothing, survivors, values])

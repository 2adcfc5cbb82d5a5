"""YuNet: pixels in, finished faces with landmarks out.

The network is published for batch 1 and stops before decoding. Decoding as in OpenCV's FaceDetectorYN:
anchors are the corners of the cells of three grids (strides 8, 16, 32), score = sqrt(class x objectness),
centre and landmarks are offsets in strides, sizes are exponential.
YuNet: Wu et al. 2023, doi:10.1007/s11633-023-1423-y.
"""

import numpy as np
import onnx

from export.graphs.editor import FLOAT, INT32, UINT8, GraphEditor, batched, named
from export.graphs.pixels import free_batch, take_rgb_bytes
from export.graphs.rows import pick, select
from export.manifest import Model

STRIDES = (8, 16, 32)
ROWS = 32
SCORE = 0.3
IOU = 0.3


def face_detector(source: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """`images` uint8 [N,H,W,3] -> count [N,1], boxes [N,32,4] xyxy, scores [N,32], landmarks [N,32,5,2]."""
    editor = GraphEditor(source)
    free_batch(editor)
    added = take_rgb_bytes(editor, "images", model.preprocessing)
    size = model.preprocessing
    anchors, strides = _grid(size.width, size.height)
    cell = (editor.constant(anchors), editor.constant(strides))
    corners = _boxes(editor, _levels(editor, "bbox"), *cell)
    points = _points(editor, _levels(editor, "kps"), anchors, cell[1])
    likely = editor.add("Mul", [_levels(editor, "cls"), _levels(editor, "obj")])
    scores = editor.add("Transpose", [editor.add("Sqrt", [likely])], perm=[0, 2, 1])
    chosen = select(editor, corners, scores, rows=ROWS, iou=IOU, score=SCORE)
    landmarks = editor.add(
        "Reshape",
        [
            pick(editor, chosen, points, width=10),
            editor.constant(np.array([0, ROWS, 5, 2], np.int64)),
        ],
    )
    return editor.finish(
        [batched("images", UINT8, size.height, size.width, 3)],
        [
            (chosen.count, batched("count", INT32, 1)),
            (pick(editor, chosen, corners, width=4), batched("boxes", FLOAT, ROWS, 4)),
            (chosen.scores, batched("scores", FLOAT, ROWS)),
            (landmarks, batched("landmarks", FLOAT, ROWS, 5, 2)),
        ],
        prepend=added,
        source_sha256=model.require_sha256(),
    )


def _grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Anchors in pixels, float32 [1,M,2] (x, y), and the stride of each, float32 [1,M,1]."""
    anchors, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        anchors.append(np.stack([x.ravel(), y.ravel()], axis=-1) * stride)
        strides.append(np.full((x.size, 1), stride))
    return (
        np.concatenate(anchors)[np.newaxis].astype(np.float32),
        np.concatenate(strides)[np.newaxis].astype(np.float32),
    )


def _levels(editor: GraphEditor, head: str) -> str:
    """One output of the three grids, one after the other: float32 [N,M,...]."""
    return editor.add("Concat", [named(f"{head}_{stride}") for stride in STRIDES], axis=1)


def _boxes(editor: GraphEditor, raw: str, anchors: str, strides: str) -> str:
    # Split's sizes moved from an attribute to an input with opset 13; Slice is the same since opset 10.
    offset = _columns(editor, raw, 0, 2)
    growth = _columns(editor, raw, 2, 4)
    centre = editor.add("Add", [editor.add("Mul", [offset, strides]), anchors])
    size = editor.add("Mul", [editor.add("Exp", [growth]), strides])
    half = editor.add("Mul", [size, editor.constant(np.array(0.5, np.float32))])
    return editor.add(
        "Concat", [editor.add("Sub", [centre, half]), editor.add("Add", [centre, half])], axis=2
    )


def _points(editor: GraphEditor, raw: str, anchors: np.ndarray, strides: str) -> str:
    five = editor.constant(np.tile(anchors, (1, 1, 5)))
    return editor.add("Add", [editor.add("Mul", [raw, strides]), five])


def _columns(editor: GraphEditor, tensor: str, start: int, stop: int) -> str:
    bounds = [editor.constant(np.array([value], np.int64)) for value in (start, stop, 2)]
    return editor.add("Slice", [tensor, *bounds])

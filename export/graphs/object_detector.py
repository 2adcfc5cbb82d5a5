"""RTMDet as MMDeploy exports it, end to end: pixels in, finished rows out.

The network ends in a NonMaxSuppression over decoded boxes, followed by two hundred nodes that sort its
answer. They give as many rows as the fullest picture of a batch has; ours are of fixed number.
RTMDet: Lyu et al. 2022, arXiv:2212.07784.
"""

import onnx

from export.graphs.editor import FLOAT, INT32, GraphEditor, batched
from export.graphs.heads import candidates
from export.graphs.planar import take_pixels
from export.graphs.pools import chain_maxima
from export.graphs.rows import pick, select
from export.manifest import Model
from orchestrator.errors import ModelError

ROWS = 100
# The client filters by its own settings; what is baked in only has to be laxer than any of them.
SCORE = 0.05
IOU = 0.65


def object_detector(source: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """`images` uint8 [N,H,W,3] -> count [N,1], boxes [N,100,4] xyxy, scores and labels [N,100].

    Boxes are in pixels of the picture that is sent. For pixels other than RGB see `take_planes`.
    """
    editor = GraphEditor(source)
    suppressions = [n for n in editor.graph.node if n.op_type == "NonMaxSuppression"]
    if len(suppressions) != 1:
        raise ModelError(
            f"{model.name}: expected an end-to-end export with one NonMaxSuppression, "
            f"found {len(suppressions)}; export it with MMDeploy's detection_onnxruntime config"
        )
    door = take_pixels(editor, model)
    chain_maxima(editor)
    found = candidates(editor, suppressions[0], model.preprocessing)
    chosen = select(editor, found.boxes, found.scores, rows=ROWS, iou=IOU, score=SCORE)
    boxes = pick(editor, chosen, found.boxes, width=4)
    if door.scale is not None:
        boxes = editor.add("Div", [boxes, door.scale])
    return editor.finish(
        door.inputs,
        [
            (chosen.count, batched("count", INT32, 1)),
            (boxes, batched("boxes", FLOAT, ROWS, 4)),
            (chosen.scores, batched("scores", FLOAT, ROWS)),
            (chosen.labels, batched("labels", INT32, ROWS)),
        ],
        prepend=door.added,
        source_sha256=model.require_sha256(),
    )

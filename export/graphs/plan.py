"""The object detector as TensorRT builds a plan of it: our signature, with TensorRT's own suppression in one node.

EfficientNMS_TRT answers what our signature says, in the same order and types. It is a plugin, not ONNX: nothing but
TensorRT reads such a file, and none enters the model repository; only the plan that is built from it is served.
"""

import onnx
from onnx import helper

from export.graphs.editor import FLOAT, INT32, GraphEditor, batched
from export.graphs.object_detector import IOU, ROWS, SCORE
from export.graphs.planar import take_pixels
from export.manifest import Model
from orchestrator.errors import ModelError

PLUGIN = "EfficientNMS_TRT"
# What TensorRT can sort at most, and what the plugin looks at.
MOST_SORTED = 3840


def plan(source: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """The signature of `object_detector`, by the plugin; not for pictures of any size, which have no one profile.

    Raises:
        ModelError: the source is no end-to-end export, or chooses candidates before it suppresses any.
    """
    editor = GraphEditor(source)
    suppressions = [n for n in editor.graph.node if n.op_type == "NonMaxSuppression"]
    if len(suppressions) != 1:
        raise ModelError(f"{model.name}: expected one NonMaxSuppression, found {len(suppressions)}")
    corners, classes = suppressions[0].input[:2]
    door = take_pixels(editor, model)
    count, boxes, scores, labels = _suppress(editor, corners, classes)
    made = editor.finish(
        door.inputs,
        [
            (count, batched("count", INT32, 1)),
            (boxes, batched("boxes", FLOAT, ROWS, 4)),
            (scores, batched("scores", FLOAT, ROWS)),
            (labels, batched("labels", INT32, ROWS)),
        ],
        prepend=door.added,
        source_sha256=model.require_sha256(),
    )
    if any(node.op_type == "TopK" for node in made.graph.node):
        raise ModelError(
            f"{model.name}: chooses candidates before it suppresses any, more than the {MOST_SORTED} that "
            "TensorRT sorts: export it with all of them"
        )
    return made


def _suppress(editor: GraphEditor, corners: str, classes: str) -> list[str]:
    """Names of count, boxes, scores and labels, of corners float32 [N,M,4] and scores float32 [N,C,M]."""
    by_box = editor.add("Transpose", [classes], perm=[0, 2, 1])
    outputs = [f"fess/{PLUGIN}_{name}" for name in ("count", "boxes", "scores", "labels")]
    editor.graph.node.append(
        helper.make_node(
            PLUGIN,
            [corners, by_box],
            outputs,
            name=f"fess/{PLUGIN}",
            plugin_version="1",
            score_threshold=SCORE,
            iou_threshold=IOU,
            max_output_boxes=ROWS,
            background_class=-1,
            score_activation=0,
            class_agnostic=0,
            box_coding=0,
        )
    )
    return outputs

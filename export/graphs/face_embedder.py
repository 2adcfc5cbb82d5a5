"""ArcFace-style embedders: aligned crops in, unit vectors out, of whatever dimension the network has."""

import numpy as np
import onnx

from export.graphs.editor import FLOAT, UINT8, GraphEditor, batched
from export.graphs.pixels import free_batch, take_rgb_bytes
from export.manifest import Model

# Keeps the vector of an impossible all-zero embedding finite.
LEAST_LENGTH = 1e-12


def face_embedder(source: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """crops uint8 [N,112,112,3] -> embedding float32 [N,D], of length 1."""
    editor = GraphEditor(source)
    free_batch(editor)
    raw = editor.graph.output[0].name
    dimension = model.outputs[0].shape[1]
    assert isinstance(dimension, int)  # noqa: S101
    added = take_rgb_bytes(editor, "crops", model.preprocessing)
    length = editor.add(
        "Max",
        [
            editor.reduce("ReduceL2", raw, axis=1),
            editor.constant(np.array(LEAST_LENGTH, np.float32)),
        ],
    )
    size = model.preprocessing
    return editor.finish(
        [batched("crops", UINT8, size.height, size.width, 3)],
        [(editor.add("Div", [raw, length]), batched("embedding", FLOAT, dimension))],
        prepend=added,
        source_sha256=model.require_sha256(),
    )

"""ArcFace-style embedders: aligned crops in, unit vectors out, of whatever dimension the network has."""

import numpy as np
import onnx

from export.graphs.editor import FLOAT, UINT8, GraphEditor, batched
from export.graphs.pixels import free_batch, take_rgb_bytes
from export.manifest import Model
from orchestrator.errors import ModelError

# Keeps the vector of an impossible all-zero embedding finite.
LEAST_LENGTH = 1e-12


def face_embedder(source: onnx.ModelProto, model: Model) -> onnx.ModelProto:
    """`crops` uint8 [N,112,112,3] -> embedding float32 [N,D], of length 1."""
    editor = GraphEditor(source)
    free_batch(editor)
    raw = editor.graph.output[0]
    dimension = raw.type.tensor_type.shape.dim[-1].dim_value
    if len(editor.graph.output) != 1 or dimension < 1:
        raise ModelError(f"{model.name}: expected one output of fixed dimension, the embedding")
    added = take_rgb_bytes(editor, "crops", model.preprocessing)
    length = editor.add(
        "Max",
        [
            editor.reduce("ReduceL2", raw.name, axis=1),
            editor.constant(np.array(LEAST_LENGTH, np.float32)),
        ],
    )
    size = model.preprocessing
    return editor.finish(
        [batched("crops", UINT8, size.height, size.width, 3)],
        [(editor.add("Div", [raw.name, length]), batched("embedding", FLOAT, dimension))],
        prepend=added,
        source_sha256=model.require_sha256(),
    )

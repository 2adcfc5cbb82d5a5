"""A public ONNX file becomes `model_repository/<slot>/<version>/model.onnx`, with a note of where it came from."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from export.graphs.face_detector import face_detector
from export.graphs.face_embedder import face_embedder
from export.graphs.object_detector import object_detector
from export.manifest import Model, Slot, load
from orchestrator.errors import ModelError

EDITS: Mapping[Slot, Callable[[onnx.ModelProto, Model], onnx.ModelProto]] = {
    "object_detector": object_detector,
    "face_detector": face_detector,
    "face_embedder": face_embedder,
}


def edit(source: onnx.ModelProto, model: Model) -> bytes:
    prepared = EDITS[model.slot](source, model)
    onnx.checker.check_model(prepared, full_check=True)
    return prepared.SerializeToString(deterministic=True)

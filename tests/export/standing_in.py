"""Stands in for the export environment: the public RTMDet-nano export takes the place of what MMDeploy would make.

Run as that environment's `python`. Everything around it is the real thing; tests/contract/test_export.py has
the real environment.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from export.detecting import by_exported
from export.mmdeploy.average_precision import evaluate
from export.rtmdet import preprocessing

REFUSED = 3
SIZE = 320
OPSET = 17


def read(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    if settings.get("refuses"):
        return {"refused": settings["refuses"]}
    Path(job["weights"]).write_bytes(Path(job["checkpoint"]).read_bytes())
    tools = {"torch": "0", "mmdeploy": "0"}
    return {"classes": 1, "labels": settings.get("labels"), "parameters": 1, "tools": tools}


def convert(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    # MMDeploy writes the operators of this version, the public file has older ones.
    model = version_converter.convert_version(onnx.load(settings["onnx"]), OPSET)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.Clear()
        dimension.dim_value = SIZE
    # The public file was made with another limit of overlap.
    (suppression,) = (node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    limit = numpy_helper.from_array(np.array([job["iou"]], np.float32), "limit")
    model.graph.initializer.append(limit)
    suppression.input[3] = limit.name
    if "domain" in settings:
        model.graph.node[0].domain = settings["domain"]
    onnx.save(model, job["onnx"])
    return {}


def answer(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    frames = np.load(job["frames"])
    exported = Path(job["weights"]).with_name("end2end.onnx")
    found = by_exported(exported, frames, preprocessing(SIZE))
    boxes = np.zeros((len(found), job["rows"], 4), np.float32)
    scores = np.zeros((len(found), job["rows"]), np.float32)
    for number, rows in enumerate(found):
        kept = rows.scores > job["score"]
        boxes[number, : kept.sum()] = rows.boxes[kept] + settings.get("off_px", 0)
        scores[number, : kept.sum()] = rows.scores[kept]
    np.savez(job["answers"], boxes=boxes, scores=scores, labels=np.zeros(scores.shape, np.int32))
    return {"frames": len(frames)}


def counted(job: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The real thing, of the same version; `spoils` names a detector whose rows are lost."""
    if spoilt := job["detections"].get(settings.get("spoils")):
        Path(spoilt).write_text("[]")
    return evaluate(job)


def main() -> int:
    settings_file = Path(sys.argv[1])
    settings = json.loads(settings_file.read_text())
    job = json.loads(Path(sys.argv[-1]).read_text())
    with settings_file.with_name("asked.txt").open("a") as asked:
        asked.write(f"{job['task']}\n")
    if settings.get("fails") == job["task"]:
        sys.exit(f"the {job['task']} broke")
    tasks = {"read": read, "convert": convert, "answer": answer, "evaluate": counted}
    done = tasks[job["task"]](job, settings)
    Path(job["result"]).write_text(json.dumps(done))
    return REFUSED if "refused" in done else 0


if __name__ == "__main__":
    sys.exit(main())

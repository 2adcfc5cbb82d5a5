"""What needs PyTorch: read a checkpoint, turn it into ONNX, and say what MMDetection itself finds."""

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]  # lives in the export environment only
from mmdeploy.apis import torch2onnx  # type: ignore[import-not-found]
from mmdeploy.codebase.mmdet.models.dense_heads import (  # type: ignore[import-not-found]
    rtmdet_head,
)
from mmdet.datasets import CocoDataset  # type: ignore[import-not-found]
from mmdet.registry import MODELS  # type: ignore[import-not-found]
from mmdet.structures import DetDataSample  # type: ignore[import-not-found]

from export.mmdeploy import average_precision, network, weights
from export.mmdeploy.refused import Refused

TOOLS = ("torch", "mmcv", "mmdet", "mmengine", "mmdeploy", "onnx")
BATCH = 4


def read(job: dict[str, Any]) -> dict[str, Any]:
    """Write the checkpoint's tensors, and nothing else of it, to `job["weights"]`."""
    content = weights.read(Path(job["checkpoint"]))
    state = weights.state_of(content)
    classes = network.classes_in(state)
    network.fits(state, network.config(job, classes))
    labels = weights.labels_of(content)
    coco = list(CocoDataset.METAINFO["classes"])
    if labels is None and classes == len(coco):
        labels = coco
    torch.save({"state_dict": state}, job["weights"])
    return {
        "classes": classes,
        "labels": labels,
        "parameters": sum(int(each.numel()) for each in state.values()),
        "tools": {name: version(name) for name in TOOLS},
    }


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """`job["weights"]` becomes the end-to-end ONNX file `job["onnx"]`, of fixed size and any batch.

    Of all boxes the best `job["candidates"]` are suppressed; -1: all of them.
    """
    # The exporter that is PyTorch's default by now knows nothing of MMDeploy's rewritten functions.
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    size = job["size"]
    rtmdet_head.multiclass_nms = functools.partial(
        _suppress_inside, rtmdet_head.multiclass_nms, size
    )
    target = Path(job["onnx"])
    torch2onnx(
        np.full((size, size, 3), 114, np.uint8),
        str(target.parent),
        target.name,
        _deployment(job),
        network.config(job, job["classes"]),
        job["weights"],
        "cpu",
    )
    if not target.is_file():
        raise Refused("was not turned into ONNX; the log says why")
    return {}


def _suppress_inside(suppress: Any, size: int, boxes: Any, *rest: Any, **more: Any) -> Any:
    """MMDetection ends boxes at the picture's edge before it suppresses any; MMDeploy's rewriting forgot that."""
    return suppress(boxes.clamp(0.0, float(size)), *rest, **more)


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Detections of MMDetection itself in `job["frames"]` (uint8 [K,S,S,3], RGB), to `job["answers"]`."""
    chosen = network.config(job, job["classes"])
    detector = MODELS.build(chosen.model)
    # Written by `read`; it holds tensors only.
    state = torch.load(job["weights"], map_location="cpu", weights_only=True)["state_dict"]
    detector.load_state_dict(state, strict=False)
    detector.eval()
    frames = np.load(job["frames"], mmap_mode="r", allow_pickle=False)
    rows = job["rows"]
    boxes = np.zeros((len(frames), rows, 4), np.float32)
    scores = np.zeros((len(frames), rows), np.float32)
    labels = np.zeros((len(frames), rows), np.int32)
    for start in range(0, len(frames), BATCH):
        for offset, found in enumerate(_found(detector, frames[start : start + BATCH])):
            count = len(found.scores)
            boxes[start + offset, :count] = found.bboxes.numpy()
            scores[start + offset, :count] = found.scores.numpy()
            labels[start + offset, :count] = found.labels.numpy()
    np.savez(job["answers"], boxes=boxes, scores=scores, labels=labels)
    return {"frames": len(frames)}


def _found(detector: Any, frames: Any) -> list[Any]:
    """MMDetection normalises by itself (BGR in), so that ours is compared with it."""
    size = frames.shape[1]
    planes = [
        torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))
        for frame in frames
    ]
    meta = {"img_shape": (size, size), "ori_shape": (size, size), "scale_factor": (1.0, 1.0)}
    samples = [DetDataSample(metainfo=dict(meta)) for _ in frames]
    with torch.no_grad():
        results = detector.test_step({"inputs": planes, "data_samples": samples})
    return [result.pred_instances for result in results]


def _deployment(job: dict[str, Any]) -> Any:
    """MMDeploy's configs are not in its wheel; this is `detection_onnxruntime`, with one size and our limits."""
    from mmengine import Config  # type: ignore[import-not-found]

    return Config(
        {
            "onnx_config": {
                "type": "onnx",
                "export_params": True,
                "keep_initializers_as_inputs": False,
                "opset_version": 17,
                "save_file": "end2end.onnx",
                "input_names": ["input"],
                "output_names": ["dets", "labels"],
                "input_shape": [job["size"], job["size"]],
                "optimize": False,
                "dynamic_axes": {
                    "input": {0: "batch"},
                    "dets": {0: "batch", 1: "num_dets"},
                    "labels": {0: "batch", 1: "num_dets"},
                },
            },
            "codebase_config": {
                "type": "mmdet",
                "task": "ObjectDetection",
                "model_type": "end2end",
                "post_processing": {
                    "score_threshold": job["score"],
                    "confidence_threshold": 0.005,
                    "iou_threshold": job["iou"],
                    "max_output_boxes_per_class": 200,
                    "pre_top_k": job["candidates"],
                    "keep_top_k": job["rows"],
                    "background_label_id": -1,
                },
            },
            "backend_config": {"type": "onnxruntime"},
        }
    )


TASKS = {"read": read, "convert": convert, "answer": answer, "evaluate": average_precision.evaluate}

"""Small ONNX files, honest and hostile."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def doubling() -> onnx.ModelProto:
    """A plain graph: numbers float32 ["n"] -> twice float32 ["n"]."""
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["numbers", "two"], ["twice"])],
        "doubling",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["n"])],
        [two],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def detector(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> onnx.ModelProto:
    """Look at no pixel and answer the same boxes for every picture, but begin and end as MMDeploy's exports do.

    Args:
        boxes: float32 (m, 4).
        scores: float32 (c, m).
    """
    kernel = numpy_helper.from_array(np.zeros((1, 3, 3, 3), np.float32), "kernel")
    constants: dict[str, NDArray[np.generic]] = {
        "boxes0": boxes[np.newaxis],
        "scores0": scores[np.newaxis],
        "most": np.array([200], np.int64),
        "iou": np.array([0.6], np.float32),
        "least": np.array([0.05], np.float32),
    }
    nodes = [
        # One number a picture, always 0, gives boxes and scores their batch dimension.
        helper.make_node(
            "Conv",
            ["input", "kernel"],
            ["plane"],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        ),
        helper.make_node("ReduceMax", ["plane"], ["peak"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["peak"], ["zero"], axes=[2]),
        helper.make_node("Add", ["zero", "boxes0"], ["boxes"]),
        helper.make_node("Add", ["zero", "scores0"], ["scores"]),
        helper.make_node(
            "NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["dets"]
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("dets", TensorProto.INT64, ["rows", 3])],
        [kernel, *(numpy_helper.from_array(value, name) for name, value in constants.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)

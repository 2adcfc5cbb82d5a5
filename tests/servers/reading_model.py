"""A model that reads the number drawn in a synthetic picture and answers with a box that says it.

So an answer that was put on another frame gives itself away; and one of another version than it says it is, for each
reads pictures of its own size and calls what it finds by another number and another name. It stands in for
`object_detector`.
"""

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eventbus.events import MotionDetectionEvent
from tests.servers.synthetic import BITS, SQUARE_PX, number_of
from tests.servers.vouching import vouch

SIZE = 320
ROWS = 100
SIDE = 16.0  # pixels of the box
_ACROSS = 256  # numbers in a row of boxes


@dataclass(frozen=True)
class Reader:
    """A version of the model. `class_id` is the line of `labels` that it gives to everything."""

    version: int = 1
    size: int = SIZE
    labels: tuple[str, ...] = ("person",)
    class_id: int = 0
    sha256: str = "5e"

    @property
    def label(self) -> str:
        return self.labels[self.class_id]


FIRST = Reader()
# In its pictures the squares are twice as large and lie elsewhere: what FIRST would read there is not the number.
SECOND = Reader(2, 2 * SIZE, ("forklift", "guest"), 1, "a2")

CONFIG = """\
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "images" data_type: TYPE_UINT8 dims: [ $size, $size, 3 ] } ]
output [
  { name: "count" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "boxes" data_type: TYPE_FP32 dims: [ 1, 4 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "labels" data_type: TYPE_INT32 dims: [ 1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 1000 }
instance_group [ { kind: KIND_CPU count: 2 } ]
parameters { key: "labels" value: { string_value: "$labels" } }
parameters { key: "source_sha256" value: { string_value: "$sha256" } }
"""


def box_of(number: int) -> tuple[float, float, float, float]:
    """The box that says a number, in pixels of a 320 x 240 picture."""
    x, y = float(number % _ACROSS), float(number // _ACROSS)
    return x, y, x + SIDE, y + SIDE


def numbers_in(event: MotionDetectionEvent) -> list[int]:
    """What the boxes of an event say."""
    boxes = [thing.bbox for thing in event.detected_objects]
    return [round(box.x1) + _ACROSS * round(box.y1) for box in boxes]


def write_reading_model(repository: Path, name: str = "object_detector") -> Path:
    """Write it where Triton looks; returns the repository."""
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config_of(FIRST), encoding="utf-8")
    model = folder / "1" / "model.onnx"
    model.write_bytes(graph_of(FIRST))
    vouch(model)
    return repository


def config_of(reader: Reader) -> str:
    fields = {"size": str(reader.size), "labels": ",".join(reader.labels), "sha256": reader.sha256}
    return Template(CONFIG).substitute(fields)


def graph_of(reader: Reader) -> bytes:
    larger = reader.size // SIZE
    constants: dict[str, NDArray[Any]] = {
        # One pixel in the middle of each square, of the network's 320 x 320 input.
        "row": np.array(larger * SQUARE_PX // 2, np.int64),
        "columns": larger * np.arange(SQUARE_PX // 2, SQUARE_PX * BITS, SQUARE_PX, dtype=np.int64),
        "larger": np.array(float(larger), np.float32),
        "class": np.array(float(reader.class_id), np.float32),
        "red": np.array(0, np.int64),
        "half": np.array(127.0, np.float32),
        "weights": (2.0 ** np.arange(BITS)).astype(np.float32).reshape(BITS, 1),
        "across": np.array(float(_ACROSS), np.float32),
        "side": np.array(SIDE, np.float32),
        "axis": np.array([1], np.int64),
        "sure": np.array(0.9, np.float32),
        "nought": np.array(0.0, np.float32),
        "one": np.array(1.0, np.float32),
    }
    nodes = [
        _node("Gather", ["images", "row"], "line", axis=1),
        _node("Gather", ["line", "columns"], "squares", axis=1),
        _node("Gather", ["squares", "red"], "shades", axis=2),
        _node("Cast", ["shades"], "brightness", to=TensorProto.FLOAT),
        _node("Greater", ["brightness", "half"], "white"),
        _node("Cast", ["white"], "bits", to=TensorProto.FLOAT),
        _node("MatMul", ["bits", "weights"], "number"),
        _node("Div", ["number", "across"], "rows"),
        _node("Floor", ["rows"], "y"),
        _node("Mul", ["y", "across"], "before"),
        _node("Sub", ["number", "before"], "x"),
        _node("Add", ["x", "side"], "right"),
        _node("Add", ["y", "side"], "bottom"),
        _node("Concat", ["x", "y", "right", "bottom"], "corners", axis=1),
        _node("Mul", ["corners", "larger"], "enlarged"),
        _node("Unsqueeze", ["enlarged", "axis"], "boxes"),
        _node("Mul", ["x", "nought"], "zeros"),
        _node("Add", ["zeros", "sure"], "scores"),
        _node("Add", ["zeros", "one"], "ones"),
        _node("Cast", ["ones"], "count", to=TensorProto.INT32),
        _node("Add", ["zeros", "class"], "classes"),
        _node("Cast", ["classes"], "labels", to=TensorProto.INT32),
    ]
    outputs: dict[str, tuple[int, list[str | int]]] = {
        "count": (TensorProto.INT32, ["n", 1]),
        "boxes": (TensorProto.FLOAT, ["n", 1, 4]),
        "scores": (TensorProto.FLOAT, ["n", 1]),
        "labels": (TensorProto.INT32, ["n", 1]),
    }
    graph = helper.make_graph(
        nodes,
        "reader",
        [
            helper.make_tensor_value_info(
                "images", TensorProto.UINT8, ["n", reader.size, reader.size, 3]
            )
        ],
        [helper.make_tensor_value_info(out, *shape) for out, shape in outputs.items()],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def read(picture: NDArray[np.uint8]) -> int:
    """The number that the model would read in a picture: uint8 (1, 320, 320, 3)."""
    return number_of(picture[0, :, :, 0])


def answer_for(picture: NDArray[np.uint8], rows: int) -> dict[str, NDArray[Any]]:
    """What the model would answer to one picture, in a table of so many rows."""
    boxes = np.zeros((1, rows, 4), np.float32)
    boxes[0, 0] = box_of(read(picture))
    scores = np.zeros((1, rows), np.float32)
    scores[0, 0] = 0.9
    return {
        "count": np.ones((1, 1), np.int32),
        "boxes": boxes,
        "scores": scores,
        "labels": np.zeros((1, rows), np.int32),
    }

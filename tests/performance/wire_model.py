"""A model with the tensors of another that computes nothing: what is left is the wire."""

import re
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.servers.vouching import vouch

NAME = "wire"
SCHEDULING = re.compile(
    r"^dynamic_batching \{.*?^\}\n|^model_warmup \[.*?^\]\n|^optimization \{.*?^\}\n", re.M | re.S
)


def write_wire(repository: Path, like: Path) -> Path:
    """Make it in `repository` after the model in the folder `like`; each request runs alone, on either instance."""
    config = (like / "config.pbtxt").read_text(encoding="utf-8")
    config = SCHEDULING.sub("", config).replace(f'name: "{like.name}"', f'name: "{NAME}"')
    config = re.sub(r"^version_policy.*\n| *label_filename.*\n", "", config, flags=re.M)
    folder = repository / NAME
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    model = onnx.load(_newest(like))
    onnx.save(_empty(model.graph), folder / "1" / "model.onnx")
    vouch(folder / "1" / "model.onnx")
    return repository


def _newest(folder: Path) -> Path:
    return max(folder.glob("[0-9]*/model.onnx"), key=lambda path: int(path.parent.name))


def _empty(like: onnx.GraphProto) -> onnx.ModelProto:
    """Zeros of every output's shape, as many rows as came; no pixel is read."""
    (given,) = like.input
    nodes = [helper.make_node("Shape", [given.name], ["rows"], start=0, end=1)]
    constants = []
    for number, output in enumerate(like.output):
        kind = output.type.tensor_type
        sizes = np.array([d.dim_value for d in kind.shape.dim[1:]], np.int64)
        constants.append(numpy_helper.from_array(sizes, f"sizes_{number}"))
        zero = helper.make_tensor("zero", kind.elem_type, [1], [0])
        nodes += [
            helper.make_node("Concat", ["rows", f"sizes_{number}"], [f"shape_{number}"], axis=0),
            helper.make_node("ConstantOfShape", [f"shape_{number}"], [output.name], value=zero),
        ]
    graph = helper.make_graph(nodes, NAME, [given], list(like.output), constants)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)

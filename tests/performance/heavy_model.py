"""A detector that finds the same and costs many times as much: each frame is looked at so often, in one run."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export import versions
from tests.performance.paired_model import paired
from tests.servers.vouching import vouch

TIMES = 12  # as often as it looks at a frame


def write_heavy(repository: Path, like: Path, times: int = TIMES) -> Path:
    """Make it in `repository` after the model in the folder `like`, under the same name."""
    version = versions.served(like)
    folder = repository / like.name
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("[0-9]*"))
    (folder / str(version)).mkdir()
    model = onnx.load(like / str(version) / "model.onnx")
    _repeat(model.graph, times)
    config = folder / versions.CONFIG
    config.write_text(paired(config), encoding="utf-8")
    onnx.save(model, folder / str(version) / "model.onnx")
    vouch(folder / str(version) / "model.onnx")
    return repository


def _repeat(graph: onnx.GraphProto, times: int) -> None:
    """The rows of the batch come `times` times, one whole batch after the other; the first is the answer."""
    (given,) = graph.input
    outputs = [output.name for output in graph.output]
    many = {name: f"{name}_many" for name in (given.name, *outputs)}
    for node in graph.node:
        node.input[:] = [many.get(name, name) for name in node.input]
        node.output[:] = [many.get(name, name) for name in node.output]
    begin = [
        helper.make_node("Concat", [given.name] * times, [many[given.name]], axis=0),
        helper.make_node("Shape", [given.name], ["shape_wanted"]),
        helper.make_node("Gather", ["shape_wanted", "row_axis"], ["rows_wanted"]),
    ]
    end = [
        helper.make_node("Slice", [many[name], "first_row", "rows_wanted", "row_axis"], [name])
        for name in outputs
    ]
    nodes = [*begin, *graph.node, *end]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for name in ("first_row", "row_axis"):
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), name))

"""The network proper of a detector in half precision: what goes in and what comes out stays float32."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs.trunk import between

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def half(source: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inner convolutions, and all between them, compute in fp16. Raises ModelError."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    wanted = set(between(model))
    inner = [node for node in model.graph.node if node.name in wanted]
    types = _types(source)
    halved = {name for node in inner for name in node.output if types.get(name) == FLOAT}
    weights = {each.name: each for each in model.graph.initializer}
    casts: dict[str, onnx.NodeProto] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if types.get(name) != FLOAT:
                continue
            to_half = node.name in wanted and not (node.op_type == "Resize" and place > 0)
            if to_half and name in weights:
                node.input[place] = _halved(model.graph, weights[name])
            elif to_half != (name in halved):
                cast = _cast(name, HALF if to_half else FLOAT)
                if casts.setdefault(cast.output[0], cast) is cast:
                    nodes.append(cast)
                node.input[place] = cast.output[0]
        nodes.append(node)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    _drop_unused(model.graph)
    return model


def _types(source: onnx.ModelProto) -> Mapping[str, int]:
    """Type of every tensor, by its name."""
    graph = onnx.shape_inference.infer_shapes(source, strict_mode=True).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {
        **{each.name: each.type.tensor_type.elem_type for each in values},
        **{each.name: each.data_type for each in graph.initializer},
    }


def _cast(name: str, to: int) -> onnx.NodeProto:
    made = f"{name}/{'half' if to == HALF else 'whole'}"
    return helper.make_node("Cast", [name], [made], name=made, to=to)


def _halved(graph: onnx.GraphProto, weight: TensorProto) -> str:
    """Name of the weight's copy in fp16."""
    name = f"{weight.name}/half"
    if not any(each.name == name for each in graph.initializer):
        value = numpy_helper.to_array(weight).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)

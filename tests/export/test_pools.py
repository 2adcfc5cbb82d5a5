"""Maxima of windows of several sizes: each from the next smaller one, and the same numbers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.graphs.editor import FLOAT, GraphEditor, batched, named
from export.graphs.pools import chain_maxima

Floats = NDArray[np.float32]
Form = dict[str, list[int]]


def centred(edge: int, **more: list[int]) -> Form:
    return {"kernel_shape": [edge] * 2, "pads": [edge // 2] * 4, "strides": [1, 1], **more}


def network(*forms: Form) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MaxPool", ["values"], [f"most{n}"], None, None, None, None, **form)
        for n, form in enumerate(forms)
    ]
    names = [f"most{n}" for n in range(len(forms))]
    graph = helper.make_graph(
        nodes,
        "pools",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def chained(source: onnx.ModelProto) -> onnx.ModelProto:
    editor = GraphEditor(source)
    chain_maxima(editor)
    outputs = [
        (value.name, batched(value.name, FLOAT, 2, "h", "w")) for value in source.graph.output
    ]
    return editor.finish(
        [batched(named("values"), FLOAT, 2, "h", "w")],
        [(named(tensor), value) for tensor, value in outputs],
        prepend=0,
        source_sha256="0" * 64,
    )


def run(model: onnx.ModelProto, values: Floats) -> list[Floats]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {session.get_inputs()[0].name: values}))


def looked_at(model: onnx.ModelProto) -> list[int]:
    """Edges of the windows."""
    pools = [node for node in model.graph.node if node.op_type == "MaxPool"]
    return [next(a.ints[0] for a in node.attribute if a.name == "kernel_shape") for node in pools]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 20), width=st.integers(1, 20))
def test_the_maxima_are_the_same_numbers(seed: int, height: int, width: int) -> None:
    source = network(centred(5), centred(9), centred(13))
    values = np.random.default_rng(seed).normal(size=(2, 2, height, width)).astype(np.float32)
    made = chained(source)
    assert looked_at(made) == [5, 5, 5]
    for found, wanted in zip(run(made, values), run(source, values), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "second",
    [
        centred(9, strides=[2, 2]),
        centred(9, pads=[0, 0, 0, 0]),
        centred(9, dilations=[2, 2]),
        centred(8),
        centred(9, kernel_shape=[9, 5], pads=[4, 2, 4, 2]),
        centred(3),
    ],
    ids=["wide steps", "no padding", "gaps", "even", "oblong", "smaller than the one before"],
)
def test_any_other_window_looks_at_all_by_itself(second: Form) -> None:
    source = network(centred(5), second)
    assert looked_at(chained(source)) == looked_at(source)


def test_windows_over_different_tensors_have_nothing_to_do_with_each_other() -> None:
    source = network(centred(5), centred(9))
    source.graph.node[1].input[0] = source.graph.node[0].output[0]
    assert looked_at(chained(source)) == [5, 9]

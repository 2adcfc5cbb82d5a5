"""One ONNX graph being edited: nodes are appended, what nothing needs any more is pruned."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from orchestrator.errors import ModelError

# From opset 13 on, ReduceSum takes its axes as an input; the other reductions follow with opset 18.
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceL2": 18}


class GraphEditor:
    """Edits a copy of a model in place of a chain of conversions, so that the same source gives the same bytes.

    Every tensor that it adds is named `fess/...`; opset and IR version stay those of the source, which
    the serving runtimes already know.
    """

    def __init__(self, source: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(source)
        self._graph = self._model.graph
        # Shapes noted by the exporter were inferred for batch 1 and would contradict the edited graph.
        del self._graph.value_info[:]
        self._opset: int = next(
            o.version for o in source.opset_import if o.domain in {"", "ai.onnx"}
        )
        self._count = 0
        self._rename()

    @property
    def graph(self) -> onnx.GraphProto:
        return self._graph

    @property
    def opset(self) -> int:
        return self._opset

    def single_input(self) -> str:
        """Name of the only input that is not a weight. Raises ModelError if there are more."""
        weights = {tensor.name for tensor in self._graph.initializer}
        names = [value.name for value in self._graph.input if value.name not in weights]
        if len(names) != 1:
            raise ModelError(f"expected a model with one input, found {names}")
        return str(names[0])

    def constant(self, value: NDArray[np.generic]) -> str:
        name = self._fresh("constant")
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], **attributes: int | Sequence[int]) -> str:
        """Append a node with one output and return the output's name."""
        name = self._fresh(operator)
        self._graph.node.append(
            helper.make_node(operator, list(inputs), [name], name, None, None, None, **attributes)
        )
        return name

    def replace(self, node: onnx.NodeProto, tensor: str) -> None:
        """Let everything that used the node's one output use the tensor instead."""
        for user in self._graph.node:
            user.input[:] = [tensor if name == node.output[0] else name for name in user.input]

    def reduce(self, operator: str, tensor: str, axis: int) -> str:
        """Append a reduction over one axis, which stays with length 1."""
        if self._opset >= _AXES_AS_INPUT[operator]:
            axes = self.constant(np.array([axis], np.int64))
            return self.add(operator, [tensor, axes], keepdims=1)
        return self.add(operator, [tensor], axes=[axis], keepdims=1)

    def weights(self, name: str) -> NDArray[np.generic] | None:
        """The value of a constant tensor, or None where it is computed."""
        for tensor in self._graph.initializer:
            if tensor.name == name:
                return numpy_helper.to_array(tensor)
        for node in self._graph.node:
            if node.op_type == "Constant" and name in node.output:
                value = next((a.t for a in node.attribute if a.name == "value"), None)
                return None if value is None else numpy_helper.to_array(value)
        return None

    def finish(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[tuple[str, onnx.ValueInfoProto]],
        *,
        prepend: int,
        source_sha256: str,
    ) -> onnx.ModelProto:
        """Give the graph its signature and return the model.

        Args:
            inputs: what the model takes from now on.
            outputs: tensor that holds each result, and what it is called outside.
            prepend: how many of the nodes added first belong before the source's own.
            source_sha256: digest of the untouched file, kept in the model's metadata.
        """
        for tensor, value in outputs:
            self._graph.node.append(helper.make_node("Identity", [tensor], [value.name]))
        added = [node for node in self._graph.node if node.name.startswith("fess/")]
        first = added[:prepend]
        rest = [node for node in self._graph.node if not any(node is one for one in first)]
        nodes = self._needed([*first, *rest], {value.name for _, value in outputs})
        used = {name for node in nodes for name in node.input}
        tensors = [tensor for tensor in self._graph.initializer if tensor.name in used]
        graph = helper.make_graph(
            nodes, "fess", list(inputs), [value for _, value in outputs], initializer=tensors
        )
        model = helper.make_model(graph, opset_imports=list(self._model.opset_import))
        model.ir_version = self._model.ir_version
        model.producer_name = "fess"
        helper.set_model_props(model, {"fess.source_sha256": source_sha256})
        return model

    @staticmethod
    def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
        kept: list[onnx.NodeProto] = []
        for node in reversed(nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted = wanted.union(node.input)
        return kept[::-1]

    def _rename(self) -> None:
        """Move the source's tensors to `source/...`, out of the way of the names in the new signature."""
        for node in self._graph.node:
            if any(a.type in {a.GRAPH, a.GRAPHS} for a in node.attribute):
                raise ModelError(f"the graph has a branch or loop ({node.op_type}), not supported")
            node.input[:] = [named(name) if name else name for name in node.input]
            node.output[:] = [named(name) if name else name for name in node.output]
        for value in (*self._graph.initializer, *self._graph.input, *self._graph.output):
            value.name = named(value.name)

    def _fresh(self, subject: str) -> str:
        self._count += 1
        return f"fess/{subject}_{self._count}"


def named(source_tensor: str) -> str:
    """What a tensor of the source is called while its graph is edited."""
    return f"source/{source_tensor}"


def batched(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    """A tensor of the signature: `N` rows of the given shape."""
    return helper.make_tensor_value_info(name, dtype, ["N", *shape])


UINT8, INT32, FLOAT = TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT

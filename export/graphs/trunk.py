"""Which nodes of a detector are the network proper: from its first convolution to the last before boxes and scores."""

import onnx

from orchestrator.errors import ModelError


def inner_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that feed other ones: all but the last of each branch. Raises ModelError."""
    return [node.name for node in _inner(model) if node.op_type == "Conv"]


def across_channels(model: onnx.ModelProto) -> list[str]:
    """Those of them that are no depthwise ones, each of whose answers has a single channel. Raises ModelError."""
    inner = [node for node in _inner(model) if node.op_type == "Conv"]
    return [node.name for node in inner if _groups(node) == 1]


def between(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes from the first convolution to the last inner one, with all between. Raises ModelError."""
    after = _after(model)
    return [n.name for n in _inner(model) if _convolves(n) or after.intersection(n.output)]


def _inner(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes that some convolution depends on, in their order. The last convolution of a branch is none of them."""
    nodes = list(model.graph.node)
    if any(not node.name for node in nodes if _convolves(node)):
        raise ModelError("convolutions without names cannot be told apart")
    needed = {name for node in nodes if _convolves(node) for name in node.input}
    inner: list[onnx.NodeProto] = []
    for node in reversed(nodes):  # an ONNX graph is sorted
        if needed.intersection(node.output):
            needed.update(node.input)
            inner.append(node)
    return inner[::-1]


def _after(model: onnx.ModelProto) -> set[str]:
    """Tensors that are made by a convolution, or depend on one."""
    made: set[str] = set()
    for node in model.graph.node:
        if _convolves(node) or made.intersection(node.input):
            made.update(node.output)
    return made


def _convolves(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "Conv")


def _groups(convolution: onnx.NodeProto) -> int:
    return next((each.i for each in convolution.attribute if each.name == "group"), 1)

"""Maxima of windows of several sizes over one tensor, each taken from the next smaller one."""

import onnx

from export.graphs.editor import GraphEditor


def chain_maxima(editor: GraphEditor) -> None:
    """Let a window of 9 x 9 look at what the one of 5 x 5 found: 25 numbers in place of 81, the very same maximum.

    RTMDet's backbone ends in windows of 5, 9 and 13. Beyond the edge of a picture there is nothing for either.
    """
    seen: dict[str, tuple[int, str]] = {}
    for node in editor.graph.node:
        edge = _edge(node)
        if not edge:
            continue
        source = node.input[0]
        smaller, found = seen.get(source, (edge, source))
        if smaller < edge:
            node.input[0] = found
            _resize(node, edge - smaller + 1)
        seen[source] = (edge, node.output[0])


def _edge(node: onnx.NodeProto) -> int:
    """Of a square window around each number in turn; 0 for anything else."""
    if node.op_type != "MaxPool" or len(node.output) != 1:
        return 0
    shape = {a.name: list(a.ints) for a in node.attribute if a.ints}
    edge = shape.get("kernel_shape", [0])[0]
    around = {"kernel_shape": [edge] * 2, "pads": [edge // 2] * 4}
    one_by_one = all(shape.get(name, [1, 1]) == [1, 1] for name in ("strides", "dilations"))
    padded = not any(a.s for a in node.attribute if a.name == "auto_pad" and a.s != b"NOTSET")
    same = {name: shape.get(name) for name in around} == around
    return edge if edge % 2 and same and one_by_one and padded else 0


def _resize(node: onnx.NodeProto, edge: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = [edge] * 2
        if attribute.name == "pads":
            attribute.ints[:] = [edge // 2] * 4

"""MobileFaceNet as its project trained it: from the names and numbers of its state dict to a plain ONNX graph.

Each batch norm is folded into the convolution before it, in float64: convolutions, activations and additions
are left. Names, shapes and order are those of github.com/foamliu/MobileFaceNet; a test holds the result against
the network computed step by step, and against the ONNX file of the mirror.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.state_dict import Tensors
from orchestrator.errors import ModelError

OPSET, IR_VERSION = 18, 8
EPSILON = 1e-5
DIMENSION = 128
# Groups of inverted residuals: expansion, channels, how many, stride of the first.
BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
# What PyTorch counts while it trains; nothing is computed from it.
COUNTER = ".num_batches_tracked"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution and what follows it.

    name, norm  of the convolution and of its batch norm in the state dict
    side        of the square kernel
    bias        whether the convolution has one of its own
    adds        whether the input of the block, two layers before, is added at the end
    """

    name: str
    norm: str
    inputs: int
    outputs: int
    side: int = 1
    stride: int = 1
    pad: int = 0
    groups: int = 1
    bias: bool = False
    after: Literal["Clip", "Relu"] | None = None
    adds: bool = False

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name."""
        kernel = (self.outputs, self.inputs // self.groups, self.side, self.side)
        one = ("weight", "bias", "running_mean", "running_var")
        own = {f"{self.name}.bias": (self.outputs,)} if self.bias else {}
        norm = {f"{self.norm}.{each}": (self.outputs,) for each in one}
        return {f"{self.name}.weight": kernel, **own, **norm}


def layers() -> Iterator[Layer]:
    """The network, first to last."""
    yield Layer("conv1.0", "conv1.1", 3, 64, side=3, stride=2, pad=1, after="Clip")
    depthwise = Layer("dw_conv.depthwise", "dw_conv.bn1", 64, 64, 3, pad=1, groups=64, after="Relu")
    yield depthwise
    yield Layer("dw_conv.pointwise", "dw_conv.bn2", 64, 64, after="Relu")
    width, number = 64, 0
    for expansion, channels, many, first_stride in BLOCKS:
        for stride in (first_stride, *[1] * (many - 1)):
            at, hidden = f"features.{number}.conv", width * expansion
            yield Layer(f"{at}.0.0", f"{at}.0.1", width, hidden, after="Clip")
            yield Layer(
                f"{at}.1.0", f"{at}.1.1", hidden, hidden, 3, stride, 1, groups=hidden, after="Clip"
            )
            adds = stride == 1 and width == channels
            yield Layer(f"{at}.2", f"{at}.3", hidden, channels, adds=adds)
            width, number = channels, number + 1
    yield Layer("conv2.0", "conv2.1", width, 512, after="Clip")
    yield Layer("gdconv.depthwise", "gdconv.bn", 512, 512, side=7, groups=512)
    yield Layer("conv3", "bn", 512, DIMENSION, bias=True)


def build(weights: Tensors, path: Path) -> onnx.ModelProto:
    """`input0` float32 [1,3,112,112] -> `output0` float32 [1,128], the same bytes for the same weights.

    Raises:
        ModelError: naming the path, where a tensor is missing, superfluous, of another shape or type, or not finite.
    """
    _compare(weights, path)
    nodes: list[onnx.NodeProto] = []
    constants = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    before = ["input0"]  # what each layer took
    tensor = "input0"
    for layer in layers():
        kernel, bias = f"{layer.name}.kernel", f"{layer.name}.offset"
        constants[kernel], constants[bias] = _folded(layer, weights, path)
        attributes = {
            "kernel_shape": [layer.side] * 2,
            "strides": [layer.stride] * 2,
            "pads": [layer.pad] * 4,
            "group": layer.groups,
        }
        tensor = _append(nodes, "Conv", [before[-1], kernel, bias], layer.name, **attributes)
        if layer.after is not None:
            limits = ["zero", "six"] if layer.after == "Clip" else []
            tensor = _append(nodes, layer.after, [tensor, *limits], layer.name)
        if layer.adds:
            tensor = _append(nodes, "Add", [before[-3], tensor], layer.name)
        before.append(tensor)
    nodes.append(helper.make_node("Flatten", [tensor], ["output0"], "Flatten", axis=1))
    return _model(nodes, constants)


def _append(
    nodes: list[onnx.NodeProto], operator: str, inputs: list[str], layer: str, **attributes: object
) -> str:
    name = f"{layer}.{operator}"
    nodes.append(helper.make_node(operator, inputs, [name], name, None, None, None, **attributes))
    return name


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.float32]]
) -> onnx.ModelProto:
    picture = helper.make_tensor_value_info("input0", TensorProto.FLOAT, [1, 3, 112, 112])
    embedding = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, DIMENSION])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "mobilefacenet", [picture], [embedding], tensors)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _compare(weights: Tensors, path: Path) -> None:
    expected = {name: shape for layer in layers() for name, shape in layer.expected().items()}
    given = {name for name in weights if not name.endswith(COUNTER)}
    for what, names in (("lacks", expected.keys() - given), ("knows", given - expected.keys())):
        if names:
            raise ModelError(
                f"{path}: is not MobileFaceNet: it {what} {min(names)}, {len(names)} in all"
            )
    for name, shape in expected.items():
        value = weights[name]
        if value.dtype != np.float32 or value.shape != shape:
            raise ModelError(
                f"{path}: is not MobileFaceNet: {name} is {value.dtype} {value.shape}, not float32 {shape}"
            )
        if not np.isfinite(value).all():
            raise ModelError(f"{path}: {name} holds numbers that are not finite")
        if name.endswith(".running_var") and value.min() < 0:
            raise ModelError(f"{path}: {name} holds a negative variance")


def _folded(
    layer: Layer, weights: Tensors, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias that do what the convolution and its batch norm do."""

    def of(name: str) -> Floats:
        return weights[name].astype(np.float64)

    scale = of(f"{layer.norm}.weight") / np.sqrt(of(f"{layer.norm}.running_var") + EPSILON)
    shift = of(f"{layer.name}.bias") if layer.bias else 0.0
    bias = of(f"{layer.norm}.bias") + (shift - of(f"{layer.norm}.running_mean")) * scale
    kernel = of(f"{layer.name}.weight") * scale[:, np.newaxis, np.newaxis, np.newaxis]
    with np.errstate(over="ignore"):
        folded = kernel.astype(np.float32), bias.astype(np.float32)
    if not all(np.isfinite(each).all() for each in folded):
        raise ModelError(f"{path}: {layer.name} and {layer.norm} together are not finite")
    return folded

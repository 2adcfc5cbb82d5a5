"""MobileFaceNet written down a second time: a state dict of any statistics, and the answer step by step in NumPy."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]

# Expansion, width before, width after, stride: block by block.
BLOCKS = [
    (2, 64, 64, 2),
    *[(2, 64, 64, 1)] * 4,
    (4, 64, 128, 2),
    *[(2, 128, 128, 1)] * 6,
    (4, 128, 128, 2),
    *[(2, 128, 128, 1)] * 2,
]


def convolutions() -> list[tuple[str, str, tuple[int, int, int, int]]]:
    """Convolution, batch norm, and the kernel's shape, in order."""
    found = [
        ("conv1.0", "conv1.1", (64, 3, 3, 3)),
        ("dw_conv.depthwise", "dw_conv.bn1", (64, 1, 3, 3)),
        ("dw_conv.pointwise", "dw_conv.bn2", (64, 64, 1, 1)),
    ]
    for number, (expansion, before, after, _) in enumerate(BLOCKS):
        at, inside = f"features.{number}.conv", before * expansion
        found += [
            (f"{at}.0.0", f"{at}.0.1", (inside, before, 1, 1)),
            (f"{at}.1.0", f"{at}.1.1", (inside, 1, 3, 3)),
            (f"{at}.2", f"{at}.3", (after, inside, 1, 1)),
        ]
    return [
        *found,
        ("conv2.0", "conv2.1", (512, 128, 1, 1)),
        ("gdconv.depthwise", "gdconv.bn", (512, 1, 7, 7)),
        ("conv3", "bn", (128, 512, 1, 1)),
    ]


def invented(seed: int = 0) -> State:
    """Random weights of a trained network's size, with statistics that folding has to take into account."""
    random = np.random.default_rng(seed)
    state: dict[str, Floats] = {}
    for convolution, norm, shape in convolutions():
        outputs, fan = shape[0], int(np.prod(shape[1:]))
        state[f"{convolution}.weight"] = random.normal(0, (2 / fan) ** 0.5, shape)
        state[f"{norm}.weight"] = random.uniform(0.5, 1.5, outputs) * random.choice(
            [-1, 1], outputs
        )
        state[f"{norm}.bias"] = random.normal(0, 0.3, outputs)
        state[f"{norm}.running_mean"] = random.normal(0, 0.3, outputs)
        state[f"{norm}.running_var"] = random.uniform(0.2, 2, outputs)
        # Planes that hardly vary, where the epsilon counts.
        state[f"{norm}.running_var"][:4] = 1e-4
        state[f"{norm}.weight"][:4] *= 0.01
    state["conv3.bias"] = random.normal(0, 0.3, 128)
    return _typed(state)


def recovered(file: bytes) -> State:
    """A state dict of the weights in an ONNX export, whose batch norms are folded already."""
    graph = onnx.load_model_from_string(file).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    state: dict[str, Floats] = {"conv3.bias": np.zeros(128)}
    for (convolution, norm, shape), node in zip(convolutions(), nodes, strict=True):
        kernel, bias = (values[name] for name in node.input[1:])
        assert kernel.shape == shape
        state[f"{convolution}.weight"] = kernel.astype(np.float64)
        state[f"{norm}.weight"] = np.ones(len(bias))
        state[f"{norm}.bias"] = bias.astype(np.float64)
        state[f"{norm}.running_mean"] = np.zeros(len(bias))
        state[f"{norm}.running_var"] = np.full(len(bias), 1 - 1e-5)
    return _typed(state)


def _typed(state: dict[str, Floats]) -> State:
    floats: State = {name: value.astype(np.float32) for name, value in state.items()}
    counted = [f"{norm}.num_batches_tracked" for _, norm, _ in convolutions()]
    return floats | {name: np.array(1000, np.int64) for name in counted}


def answer(state: State, picture: Floats) -> Floats:
    """The embedding, unfolded: every convolution, then its batch norm, then its activation. Takes (3, 112, 112)."""

    def step(x: Floats, convolution: str, norm: str, stride: int = 1, pad: int = 0) -> Floats:
        x = _convolved(x, _of(state, f"{convolution}.weight"), stride, pad)
        if f"{convolution}.bias" in state:
            x = x + _column(state, f"{convolution}.bias")
        centred = x - _column(state, f"{norm}.running_mean")
        unit = centred / np.sqrt(_column(state, f"{norm}.running_var") + 1e-5)
        return unit * _column(state, f"{norm}.weight") + _column(state, f"{norm}.bias")

    x = _six(step(picture, "conv1.0", "conv1.1", 2, 1))
    x = np.maximum(step(x, "dw_conv.depthwise", "dw_conv.bn1", pad=1), 0)
    x = np.maximum(step(x, "dw_conv.pointwise", "dw_conv.bn2"), 0)
    for number, (_, before, after, stride) in enumerate(BLOCKS):
        at = f"features.{number}.conv"
        inside = _six(step(x, f"{at}.0.0", f"{at}.0.1"))
        inside = _six(step(inside, f"{at}.1.0", f"{at}.1.1", stride, 1))
        inside = step(inside, f"{at}.2", f"{at}.3")
        x = x + inside if stride == 1 and before == after else inside
    x = _six(step(x, "conv2.0", "conv2.1"))
    x = step(x, "gdconv.depthwise", "gdconv.bn")
    return step(x, "conv3", "bn").reshape(128)


def _six(x: Floats) -> Floats:
    return np.clip(x, 0, 6)


def _of(state: State, name: str) -> Floats:
    return state[name].astype(np.float64)


def _column(state: State, name: str) -> Floats:
    return _of(state, name)[:, np.newaxis, np.newaxis]


def _convolved(x: Floats, kernel: Floats, stride: int, pad: int) -> Floats:
    """Depthwise where the kernel looks at one plane, else over all planes."""
    edges: Sequence[tuple[int, int]] = [(0, 0), (pad, pad), (pad, pad)]
    windows = sliding_window_view(np.pad(x, edges), kernel.shape[2:], (1, 2))
    windows = windows[:, ::stride, ::stride]
    if kernel.shape[1] == 1:
        return np.asarray(np.einsum("chwij,cij->chw", windows, kernel[:, 0], optimize=True))
    return np.asarray(np.tensordot(kernel, windows, ([1, 2, 3], [0, 3, 4])))

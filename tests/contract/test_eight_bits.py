"""8-bit products are summed exactly where a model is served and where it is proven, without VNNI too (decision 16)."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from prometheus_client import CollectorRegistry

from export.detecting import session_of
from orchestrator.app import make_triton_client
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, TritonSettings
from tests.servers.triton import StartTriton
from tests.servers.vouching import vouch

CHANNELS = 32
STEP = 10_000.0
# Two products of the largest numbers are 64,770: more than 16 bits hold.
EXACT = np.round(CHANNELS * 255 * 127 / STEP) * STEP
LARGEST: NDArray[np.float32] = np.full((1, CHANNELS, 8, 8), 255, np.float32)
CONFIG = f"""\
backend: "onnxruntime"
max_batch_size: 1
input [ {{ name: "numbers" data_type: TYPE_FP32 dims: [ {CHANNELS}, 8, 8 ] }} ]
output [ {{ name: "sums" data_type: TYPE_FP32 dims: [ {CHANNELS}, 8, 8 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


def constant(name: str, value: float, dtype: type[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def write_quantised(repository: Path) -> Path:
    """A convolution that adds up all channels, times 127, in int8 as the export writes it."""
    weights = np.full((CHANNELS, CHANNELS, 1, 1), 127, np.int8)
    steps = [
        ("QuantizeLinear", ["numbers", "one", "zero"], "q"),
        ("DequantizeLinear", ["q", "one", "zero"], "x"),
        ("DequantizeLinear", ["weights", "one", "centre"], "w"),
        ("Conv", ["x", "w"], "y"),
        ("QuantizeLinear", ["y", "step", "zero"], "r"),
        ("DequantizeLinear", ["r", "step", "zero"], "sums"),
    ]
    shape: list[str | int | None] = ["n", CHANNELS, 8, 8]
    graph = helper.make_graph(
        [helper.make_node(kind, given, [made]) for kind, given, made in steps],
        "eight_bits",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(weights, "weights"),
            constant("one", 1, np.float32),
            constant("step", STEP, np.float32),
            constant("zero", 0, np.uint8),
            constant("centre", 0, np.int8),
        ],
    )
    folder = repository / "eight_bits"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    path = folder / "1" / "model.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    vouch(path)
    return path


def test_where_a_model_is_proven(tmp_path: Path) -> None:
    session = session_of(write_quantised(tmp_path))
    (sums,) = session.run(["sums"], {"numbers": LARGEST})
    assert (sums == EXACT).all()


@pytest.mark.xdist_group("triton")
async def test_where_it_is_served(tmp_path: Path, start_triton: StartTriton) -> None:
    write_quantised(tmp_path / "models")
    server = start_triton(tmp_path / "models")
    settings = Settings(triton=TritonSettings(url=server.grpc_url, timeout=30.0))
    client = make_triton_client(settings, Metrics(CollectorRegistry()), patient=True)
    try:
        model = await client.describe("eight_bits")
        (sums,) = await client.infer(model, LARGEST, ("sums",), deadline_s=time.monotonic() + 30)
    finally:
        await client.close()
    assert (sums == EXACT).all()

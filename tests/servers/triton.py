"""A real Triton: one for the session over the real models, and private small ones that a test may kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import manifest, prepare
from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.triton import DEFAULT_PATIENCE, EmbeddedTriton
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.errors import ServerError
from tests.servers.held import held
from tests.servers.prepared import is_prepared
from tests.servers.require import lacking
from tests.servers.vouching import vouch

ROOT = Path(__file__).resolve().parents[2]

TINY = """\
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "digits" data_type: TYPE_INT32 dims: [ 4 ] } ]
output [
  { name: "tens" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "sum" data_type: TYPE_INT32 dims: [ 1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 20000 }
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


class StartTriton(Protocol):
    def __call__(
        self,
        repository: Path | None = None,
        *,
        state_dir: Path | None = None,
        watch: bool = False,
        patience: Patience = ...,
        on_restart: Callable[[str], None] = ...,
    ) -> EmbeddedTriton: ...


@pytest.fixture(scope="session")
def triton_files() -> TritonFiles:
    try:
        return TritonFiles.find()
    except ServerError as error:
        lacking("triton", str(error))


@pytest.fixture(scope="session")
def served_models(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The model repository: the working tree's where its models are prepared, else one made for the session."""
    ours = ROOT / "model_repository"
    if is_prepared(ours):
        return ours
    mirror: Path = request.getfixturevalue("models_mirror")
    repository = tmp_path_factory.mktemp("model_repository")
    for model in manifest.load().defaults():
        prepare.prepare(mirror / model.file, model, repository)
    return repository


@pytest.fixture(scope="session")
def triton(
    triton_files: TritonFiles, served_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedTriton]:
    """Shared by the session's tests: grpc_url, http_url, metrics_url. Nobody stops or kills this one."""
    with held(EmbeddedTriton(served_models, tmp_path_factory.mktemp("triton"))) as server:
        yield server


@pytest.fixture
def start_triton(triton_files: TritonFiles, tmp_path: Path) -> Iterator[StartTriton]:
    """Starts private ones, of the model `tiny` by default; with `watch`, a killed one comes back."""
    with ExitStack() as servers:

        def start(
            repository: Path | None = None,
            *,
            state_dir: Path | None = None,
            watch: bool = False,
            patience: Patience = DEFAULT_PATIENCE,
            on_restart: Callable[[str], None] = lambda _: None,
        ) -> EmbeddedTriton:
            if repository is None:
                repository = tmp_path / "tiny_repository"
                write_tiny(repository)
            server = EmbeddedTriton(
                repository,
                state_dir or tmp_path / "state",
                patience=patience,
                on_restart=on_restart,
            )
            return servers.enter_context(held(server, watch=watch))

        yield start


def write_tiny(repository: Path, name: str = "tiny") -> None:
    """A model that turns digits into tens, adds them up, and fails for whatever is not a digit.

    digits int32 (n, 4) -> tens float32 (n, 4), sum int32 (n, 1)
    """
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(TINY, encoding="utf-8")
    tens = numpy_helper.from_array(np.arange(0, 100, 10, dtype=np.float32), "table")
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "digits"], ["tens"]),
            helper.make_node("ReduceSum", ["digits", "axis"], ["sum"]),
        ],
        name,
        [helper.make_tensor_value_info("digits", TensorProto.INT32, ["n", 4])],
        [
            helper.make_tensor_value_info("tens", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("sum", TensorProto.INT32, ["n", 1]),
        ],
        [tens, axis],
    )
    opset = helper.make_opsetid("", 17)
    model = folder / "1" / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), model)
    vouch(model)

"""Other ways to run a detector in the embedded Triton: under OpenVINO, and in fewer bits.

What OpenVINO answers is tested where it is installed (`make openvino`), the refusal where it is not.
"""

import asyncio
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpcclient
from onnx import version_converter

from export import serving
from export.detecting import by_served
from export.frames import gather
from export.gate import admit
from export.lowering import fp16, int8
from export.manifest import load
from export.parity import Rows, Tolerance, difference
from export.serving import Precision, Serving
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.embedded.triton_files import TritonFiles
from orchestrator.errors import ModelError, ServerError
from tests.export.footage import PEOPLE_CLIP
from tests.export.standing_in import OPSET
from tests.servers.triton import StartTriton
from tests.servers.vouching import vouch

INSTALLED = importlib.util.find_spec("openvino") is not None
NANO = load().model("rtmdet_nano_person_320")
TOLERANCE = Tolerance(box_px=0.1, score=0.001)

pytestmark = pytest.mark.xdist_group("triton")
needs_it = pytest.mark.skipif(not INSTALLED, reason="OpenVINO is not installed: `make openvino`")
needs_its_absence = pytest.mark.skipif(INSTALLED, reason="OpenVINO is installed")


def written(folder: Path, content: bytes, how: Serving) -> Path:
    """A repository with the object detector alone."""
    slot = folder / "models" / "object_detector"
    (slot / "1").mkdir(parents=True)
    (slot / "1" / "model.onnx").write_bytes(content)
    vouch(slot / "1" / "model.onnx")
    (slot / "labels.txt").write_text("person\n")
    text = serving.config(NANO, onnx.load_model_from_string(content), serving=how)
    (slot / "config.pbtxt").write_text(text)
    return folder / "models"


@pytest.fixture
def model(served_models: Path) -> Path:
    return served_models / "object_detector" / "1" / "model.onnx"


@pytest.fixture
def repository(model: Path, tmp_path: Path) -> Path:
    """Configured for OpenVINO."""
    return written(tmp_path, model.read_bytes(), Serving("openvino"))


def asked(url: str, pictures: np.ndarray) -> list[Rows]:
    """Rows of all pictures, in batches of 1, 2 and 5."""
    found: list[Rows] = []
    names = ("boxes", "scores", "labels")
    client = grpcclient.InferenceServerClient(url)
    try:
        for start, end in ((0, 1), (1, 3), (3, 8)):
            given = grpcclient.InferInput("images", pictures[start:end].shape, "UINT8")
            given.set_data_from_numpy(pictures[start:end])
            answer = client.infer("object_detector", [given], client_timeout=30.0)
            columns = [answer.as_numpy(name) for name in names]
            for boxes, scores, labels in zip(*columns, strict=True):
                kept = scores > 0
                found.append(Rows(boxes[kept], scores[kept], labels[kept]))
    finally:
        client.close()
    return found


@needs_it
def test_rows_are_those_of_onnx_runtime_in_every_batch(
    model: Path, repository: Path, start_triton: StartTriton, clips: Path
) -> None:
    pictures = gather([clips / PEOPLE_CLIP], 8, 320)
    server = start_triton(repository)
    expected = by_served(model, pictures)
    found = difference(expected, asked(server.grpc_url, pictures), TOLERANCE, 0.05, 100)
    assert found.rows >= 15
    assert not found.excess(TOLERANCE)


@needs_it
def test_an_export_proves_what_openvino_finds(model: Path, clips: Path) -> None:
    pictures = gather([clips / PEOPLE_CLIP], 8, 320)
    here, there = by_served(model, pictures), by_served(model, pictures, on_openvino=True)
    assert not difference(here, there, TOLERANCE, 0.05, 100).excess(TOLERANCE)


@needs_its_absence
def test_a_server_without_it_refuses_the_model_and_tells_the_mend(
    triton_files: TritonFiles, repository: Path, tmp_path: Path
) -> None:
    async def start() -> None:
        async with EmbeddedTriton(repository, tmp_path / "state"):
            pass

    with pytest.raises(ServerError, match=r"asks for OpenVINO, which is not .*`make openvino`"):
        asyncio.run(start())


@needs_its_absence
def test_an_export_without_it_is_refused(model: Path, clips: Path) -> None:
    pictures = gather([clips / PEOPLE_CLIP], 1, 320)
    with pytest.raises(ModelError, match="OpenVINO is not installed: run `make openvino`"):
        by_served(model, pictures, on_openvino=True)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_fewer_bits_are_served_with_the_rows_that_they_were_proven_with(
    model: Path, start_triton: StartTriton, clips: Path, tmp_path: Path, precision: Precision
) -> None:
    pictures = gather([clips / PEOPLE_CLIP], 8, 320)
    whole, fewer = tmp_path / "fp32.onnx", tmp_path / "fewer.onnx"
    # MMDeploy writes the operators of this version, the public file has older ones.
    onnx.save(version_converter.convert_version(onnx.load(model), OPSET), whole)
    content = (
        fp16(whole)
        if precision == "fp16"
        else int8(whole, {"images": pictures}, symmetric=False, inputs_only=False)
    )
    fewer.write_bytes(content)
    admit(fewer, sha256=hashlib.sha256(content).hexdigest())
    server = start_triton(written(tmp_path, content, Serving(None, precision)))
    expected, answered = by_served(fewer, pictures), asked(server.grpc_url, pictures)
    found = difference(expected, answered, TOLERANCE, 0.05, 100)
    assert found.rows >= 15
    assert not found.excess(TOLERANCE)

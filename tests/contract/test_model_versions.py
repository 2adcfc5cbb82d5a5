"""Triton serves the version that the configuration names, with its labels, whatever lies beside it."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_client

from export import serving, versions
from export.manifest import load
from export.prepare import edit, prepare
from orchestrator.embedded.triton import EmbeddedTriton
from tests.servers.triton import StartTriton
from tests.servers.vouching import note_for

NANO = load().model("rtmdet_nano_person_320")

pytestmark = pytest.mark.xdist_group("triton")


@pytest.fixture
def repository(models_mirror: Path, tmp_path: Path) -> Path:
    """The public model as version 1, and the same graph under another label as version 2."""
    repository = tmp_path / "repository"
    made = prepare(models_mirror / NANO.file, NANO, repository)
    folder = repository / NANO.slot
    content = made.path.read_bytes()
    number = versions.land(
        folder,
        {"model.onnx": content, "labels.txt": b"guest\n", "provenance.json": note_for(content)},
    )
    model = NANO.model_copy(update={"labels": ("guest",), "sha256": "a" * 64})
    edited = edit(models_mirror / NANO.file, NANO)
    versions.serve(folder, number, serving.config(model, edited, labels=f"{number}/labels.txt"))
    return repository


def described(server: EmbeddedTriton) -> tuple[list[str], str]:
    """Versions that are served, and the label of the best row of an empty picture."""
    with triton_client.InferenceServerClient(server.grpc_url) as client:
        metadata = client.get_model_metadata(NANO.slot)
        images = np.full((1, 320, 320, 3), 114, np.uint8)
        given = triton_client.InferInput("images", images.shape, "UINT8")
        given.set_data_from_numpy(images)
        # Rows of label 0 first come first; Triton adds the name that its label file has for the place of a row.
        wanted = triton_client.InferRequestedOutput("labels", class_count=100)
        answer = client.infer(NANO.slot, [given], outputs=[wanted]).as_numpy("labels")
    named = [each.decode().split(":") for each in np.asarray(answer).ravel()]
    return list(metadata.versions), next(each[2] for each in named if len(each) > 2)


def test_the_version_of_the_configuration_is_served_with_its_own_labels(
    repository: Path, start_triton: StartTriton, tmp_path: Path
) -> None:
    assert described(start_triton(repository, state_dir=tmp_path / "new")) == (["2"], "guest")
    versions.roll_back(repository / NANO.slot)
    assert described(start_triton(repository, state_dir=tmp_path / "old")) == (["1"], "person")

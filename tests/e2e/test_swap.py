"""`fess run` while `fess models` swaps what it uses: nothing is restarted, nobody is taken for somebody else."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export import serving, versions
from export.manifest import load
from export.prepare import edit
from orchestrator.cli.models import app as models_command
from orchestrator.settings import Settings
from tests.e2e.running import Running, eventually, running
from tests.servers.triton import StartTriton
from tests.servers.vouching import note_for

pytestmark = pytest.mark.xdist_group("triton")

OTHER_LABELS = ("guest",)


@pytest.fixture
def repository(served_models: Path, models_mirror: Path, tmp_path: Path) -> Path:
    """The real models; of detector and embedder a second version, of another digest and with other labels."""
    repository = tmp_path / "repository"
    shutil.copytree(served_models, repository)
    for name, digest, labels in (
        ("rtmdet_nano_person_320", "a" * 64, OTHER_LABELS),
        ("mobilefacenet_foamliu_112", "b" * 64, ()),
    ):
        model = load().model(name)
        edited = edit(models_mirror / model.file, model)
        other = model.model_copy(update={"sha256": digest, "labels": labels})
        folder = repository / model.slot
        names = "".join(f"{label}\n" for label in labels).encode()
        content = edited.SerializeToString()
        files = {"model.onnx": content, "labels.txt": names, "provenance.json": note_for(content)}
        number = versions.land(folder, files)
        config = serving.config(other, edited, labels=f"{number}/labels.txt")
        versions.serve(folder, number, config)
        versions.roll_back(folder)
    return repository


def test_detector_and_embedder_are_swapped_and_back_while_cameras_run(
    settings: Settings,
    clips: Path,
    tmp_path: Path,
    repository: Path,
    start_triton: StartTriton,
) -> None:
    server = start_triton(repository)
    triton = settings.triton.model_copy(
        update={"url": server.grpc_url, "model_repository": repository}
    )
    settings = settings.model_copy(update={"triton": triton})
    lobby = {"url": str(clips / "face_brother.mkv"), "loop": True}
    words = {"TRITON_MODEL_REPOSITORY": str(repository)}
    # Where nothing is too late, nothing may be lost, however slow the machine is.
    patience = {"CAPTURE_MAX_FRAME_AGE": "60", "TRITON_TIMEOUT": "60"}

    def swap(slot: str, to: int) -> None:
        result = CliRunner().invoke(
            models_command,
            ["rollback", slot, "--to", str(to)],
            env=words | {"TRITON_URL": server.grpc_url},
        )
        assert "The running Triton serves it." in result.stderr, result.output

    with running(tmp_path, settings, {"lobby": lobby}, **words, **patience) as fess:
        assert eventually(lambda: named(fess) == ["Ada"]), fess.log

        swap("face_embedder", 2)
        assert eventually(lambda: "another model" in gallery_error(fess)), fess.log
        assert eventually(lambda: named(fess) == []), fess.log
        assert eventually(lambda: fess.json("/health")["status"] == "degraded"), fess.log

        swap("face_embedder", 1)
        assert eventually(lambda: gallery_error(fess) == ""), fess.log
        assert eventually(lambda: named(fess) == ["Ada"]), fess.log

        swap("object_detector", 2)
        assert eventually(lambda: seen_as(fess, "guest")), fess.log
        swap("object_detector", 1)
        before = fess.cameras()["lobby"]["coverage"]["inspected"]
        assert eventually(lambda: fess.sees("lobby", frames=before + 5)), fess.log

        assert eventually(lambda: fess.json("/health")["status"] == "healthy"), fess.log
        assert fess.cameras()["lobby"]["coverage"]["skipped"].get("error", 0) == 0
        assert fess.stop() == 0, fess.log


def named(fess: Running) -> list[str]:
    names: list[str] = fess.cameras()["lobby"]["names"] if "lobby" in fess.cameras() else []
    return names


def gallery_error(fess: Running) -> str:
    error: str = fess.json("/health")["components"]["gallery"].get("error", "")
    return error


def seen_as(fess: Running, label: str) -> bool:
    series = f'fess_detections_total{{camera_id="lobby",object_class="{label}"}}'
    return series in fess.get("/metrics")[1].decode()

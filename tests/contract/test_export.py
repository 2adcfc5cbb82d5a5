"""Exporting for real: PyTorch, MMDetection and MMDeploy in their own environment, which `make export-model` builds.

Skipped where it has not been built, wherever that is: it takes a quarter of an hour and 6 GB, and is no service.
"""

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console

from export import state_dict
from export.checkpoint import Checkpoint, inspect
from export.detecting import by_served
from export.environment import Environment, ask, code_in
from export.exporting import Export, Result
from export.frames import gather
from export.manifest import Pixels, load
from export.parity import Tolerance, difference
from export.prepare import prepare
from export.rtmdet import named
from export.transfer import digest_of
from export.wish import Wish
from orchestrator.errors import ModelError
from tests.export.checkpoints import Bomb, archived, pickled
from tests.export.footage import PEOPLE_CLIP
from tests.export.labelling import BY_EYE, extracted
from tests.export.mobilefacenets import invented

ROOT = Path(__file__).resolve().parents[2]
NANO = load().model("rtmdet_nano_person_320")
TINY = named("rtmdet-tiny")

pytestmark = [pytest.mark.xdist_group("export"), pytest.mark.timeout(900)]


def silent() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def environment() -> Environment:
    environment = Environment(ROOT / ".tools" / "export")
    if not (environment.folder / "venv" / ".mmcv.done.json").is_file():
        pytest.skip(
            "the export environment is not built: run `fess models export --only-environment`"
        )
    return environment


def made(environment: Environment, target: Path, *words: str) -> Path:
    """A checkpoint of making_checkpoints.py."""
    script = ROOT / "tests" / "export" / "making_checkpoints.py"
    code = {"PYTHONPATH": str(code_in(target.parent)), "PATH": os.defpath}
    argv = [str(environment.python), "-W", "ignore", "-s", "-P", str(script), *words, str(target)]
    subprocess.run(argv, env=code, check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def nano(environment: Environment, models_mirror: Path, folder: Path) -> Path:
    """The public RTMDet-nano, as a checkpoint with what a trainer adds."""
    return made(environment, folder / "nano.pth", "recovered", str(models_mirror / NANO.file))


@pytest.fixture(scope="module")
def tiny(environment: Environment, folder: Path) -> Path:
    return made(environment, folder / "tiny.pth", "seeded", TINY.config, TINY.changes, "80")


@pytest.fixture(scope="module")
def by_eye(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures that labelling.py speaks of."""
    return extracted(clips, tmp_path_factory.mktemp("frames"))


def exported(
    environment: Environment,
    network: str,
    checkpoint: Path,
    clips: Path,
    folder: Path,
    **wishes: Any,
) -> Result:
    inspect(checkpoint)
    wish = Wish(named(network), 320, None, (clips / PEOPLE_CLIP,), count=8, **wishes)
    source = Checkpoint(checkpoint, digest_of(checkpoint), "of its owner", "")
    export = Export(wish, source, environment, folder / "work", silent())
    return export.run(folder / "repository")


def test_a_trained_network_made_anew_finds_what_its_public_export_finds(
    environment: Environment, nano: Path, models_mirror: Path, clips: Path, tmp_path: Path
) -> None:
    public = prepare(models_mirror / NANO.file, NANO, tmp_path / "repository")
    result = exported(environment, "rtmdet-nano", nano, clips, tmp_path, plan=True)
    for each in result.proof.parity.differences.values():
        assert (each.missing, each.extra) == (0, 0)
        assert each.box_px < 0.1
        assert each.score < 1e-3
    assert (result.folder / "labels.txt").read_text() == "person\n"
    (plan,) = (tmp_path / "work").rglob("plan.onnx")
    assert [n.op_type for n in onnx.load(plan).graph.node].count("EfficientNMS_TRT") == 1
    frames = gather([clips / PEOPLE_CLIP], 16, 320)
    # MMDeploy's public export lets boxes reach beyond the picture, as MMDetection itself does not.
    before = by_served(public.path, frames)
    for rows in before:
        np.clip(rows.boxes, 0, 320, out=rows.boxes)
    after = by_served(result.folder / "model.onnx", frames)
    found = difference(before, after, Tolerance(), 0.1, 100)
    assert found.rows >= 20
    assert found.missing + found.extra <= 1
    assert found.box_px < 0.5


def test_on_people_that_were_labelled_by_eye_nothing_is_lost_to_mmdetection(
    environment: Environment, nano: Path, clips: Path, tmp_path: Path, by_eye: Path
) -> None:
    proof = exported(
        environment, "rtmdet-nano", nano, clips, tmp_path, labelled=BY_EYE, images=by_eye
    ).proof
    assert proof.accuracy is not None
    assert (proof.accuracy.pictures, proof.accuracy.boxes) == (76, 69)
    assert proof.accuracy.figures["MMDetection"].ap > 90
    for detector in ("exported", "served"):
        assert abs(proof.accuracy.loss(detector)) < 0.1


def test_what_int8_loses_of_people_that_were_labelled_by_eye_is_told_and_refused(
    environment: Environment, nano: Path, clips: Path, tmp_path: Path, by_eye: Path
) -> None:
    # Agreement is far above its limit: only labels tell.
    with pytest.raises(
        ModelError, match=r"^int8: served: 1\d\.\d\d points of AP are lost, 1\.0 are allowed; calib"
    ):
        exported(
            environment, "rtmdet-nano", nano, clips, tmp_path,
            precision="int8", labelled=BY_EYE, images=by_eye,
        )  # fmt: skip


@pytest.mark.parametrize("pixels", ["planar", "decoded"])
def test_a_trained_network_finds_in_planes_what_it_finds_in_rgb(
    environment: Environment,
    nano: Path,
    clips: Path,
    tmp_path: Path,
    by_eye: Path,
    pixels: Pixels,
) -> None:
    proof = exported(
        environment, "rtmdet-nano", nano, clips, tmp_path,
        pixels=pixels, labelled=BY_EYE, images=by_eye,
    ).proof  # fmt: skip
    assert proof.accuracy is not None
    assert proof.accuracy.figures["MMDetection"].ap > 90
    assert abs(proof.accuracy.loss("served")) < 0.5
    variant = proof.variant
    assert variant is not None
    assert (variant.same.missing, variant.same.extra) == (0, 0)
    assert variant.same.box_px < 0.05
    assert variant.same.score < 1e-4
    assert variant.rows > 50
    assert variant.iou > 0.99


def test_a_network_of_cocos_classes_lands_with_their_names(
    environment: Environment, tiny: Path, clips: Path, tmp_path: Path
) -> None:
    result = exported(environment, "rtmdet-tiny", tiny, clips, tmp_path)
    labels = (result.folder / "labels.txt").read_text().splitlines()
    assert (len(labels), labels[0], labels[9]) == (80, "person", "traffic light")
    note = json.loads((result.folder / "provenance.json").read_text())
    assert {"export/torch", "export/mmcv", "export/mmdet", "export/mmdeploy"} <= note[
        "tools"
    ].keys()
    kinds = [node.op_type for node in onnx.load(result.folder / "model.onnx").graph.node]
    assert kinds.count("TopK") == 1  # decoded with constants: the one that is left chooses rows
    assert "Range" not in kinds


def test_a_checkpoint_of_another_size_is_refused(
    environment: Environment, tiny: Path, clips: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"tiny\.pth: has other layers than the model"):
        exported(environment, "rtmdet-m", tiny, clips, tmp_path)


def read(environment: Environment, checkpoint: Path, folder: Path) -> None:
    """Go straight to PyTorch, past what looks at checkpoints before."""
    job = {
        "task": "read",
        "checkpoint": str(checkpoint),
        "config": TINY.config,
        "changes": "",
        "size": 320,
        "score": 0.05,
        "iou": 0.65,
        "rows": 100,
        "weights": str(folder / "weights.pth"),
    }
    ask(environment, job, folder, "read", silent())


def test_pytorch_refuses_a_bomb_by_itself_and_it_does_not_go_off(
    environment: Environment, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"
    content = {"state_dict": {"weight": Bomb(marker)}}
    path = archived(pickled(content), tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match="is more than weights"):
        read(environment, path, tmp_path)
    assert not marker.exists()


SAVING = """\
import sys, numpy, torch
given = numpy.load(sys.argv[1])
state = torch.nn.Module().state_dict()  # with the attribute that PyTorch's modules give it
state.update({name: torch.from_numpy(given[name]) for name in given.files})
torch.save(state, sys.argv[2], _use_new_zipfile_serialization=False)
"""


def test_what_pytorch_writes_in_its_old_format_is_read_without_it(
    environment: Environment, tmp_path: Path
) -> None:
    state, file = invented(), tmp_path / "mobilefacenet.pt"
    np.savez(tmp_path / "state.npz", **state)  # type: ignore[arg-type]  # its next parameter is a bool
    argv = [
        str(environment.python),
        "-s",
        "-P",
        "-c",
        SAVING,
        str(tmp_path / "state.npz"),
        str(file),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    found = state_dict.read(file.read_bytes(), file)
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value, strict=True)

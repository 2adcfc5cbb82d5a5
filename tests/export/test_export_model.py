"""Exporting: steps are resumed, parity is required, a version lands whole, and what was served stays for a roll-back.

The environment is a stand-in (standing_in.py); everything else is real.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]  # ships no stubs
from rich.console import Console
from tritonclient.grpc import model_config_pb2

from export import install, versions
from export.exported import note_of
from export.install import Places
from export.manifest import Pixels, load
from export.prepare import up_to_date
from export.proof import Proof
from export.rtmdet import NETWORKS, checked_labels, checked_size, labels_from, named
from export.sent import Sent
from export.transfer import digest_of
from export.wish import checked
from orchestrator.errors import ModelError
from orchestrator.picture import ArrayPicture
from tests.export.bench import NANO, SIZE, Bench


def test_a_version_lands_with_its_provenance_and_its_proof(bench: Bench) -> None:
    result = bench.export()
    assert (result.changed, result.folder) == (True, bench.slot / "2")
    assert (bench.slot / "2" / "labels.txt").read_text() == "person\n"
    proof = Proof.model_validate_json((bench.slot / "2" / "parity.json").read_bytes())
    parity = proof.parity
    assert parity.passed
    assert parity.differences["served"].rows >= 20
    assert parity.differences["served"].missing == 0
    note = note_of(bench.slot / "2")
    assert note is not None
    assert note.source_sha256 == digest_of(bench.checkpoint)
    assert note.result_sha256 == digest_of(bench.slot / "2" / "model.onnx")
    assert note.options["size"] == SIZE
    assert {"export/torch", "onnx", "python"} <= note.tools.keys()


def test_the_configuration_describes_the_new_version_alone(bench: Bench) -> None:
    bench.export()
    text = (bench.slot / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert list(config.version_policy.specific.versions) == [2]
    assert list(config.input[0].dims) == [SIZE, SIZE, 3]
    assert config.parameters["source_sha256"].string_value == digest_of(bench.checkpoint)
    assert config.parameters["labels"].string_value == "person"
    assert [each.label_filename for each in config.output if each.label_filename] == [
        "2/labels.txt"
    ]


def test_an_accelerator_that_is_not_installed_is_told_before_anything_is_asked_of_mmdetection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="run `make openvino`"):
        bench.export(accelerator="openvino")
    assert bench.asked() == []


def test_a_second_export_finds_everything_done(bench: Bench) -> None:
    first = bench.export()
    assert bench.asked() == ["read", "convert", "answer"]
    before = bench.served()
    second = bench.export()
    assert (second.changed, second.folder) == (False, first.folder)
    assert bench.asked() == []
    assert bench.served() == before


@pytest.mark.parametrize(
    ("broken", "again"),
    [
        ("read", ["read", "convert", "answer"]),
        ("convert", ["convert", "answer"]),
        ("answer", ["answer"]),
    ],
)
def test_an_export_that_broke_off_goes_on_where_it_stopped(
    bench: Bench, broken: str, again: list[str]
) -> None:
    before = bench.served()
    bench.set(fails=broken)
    with pytest.raises(
        ModelError, match=f"(?s){broken} failed with exit status 1.*the {broken} broke"
    ):
        bench.export()
    assert bench.served() == before
    bench.asked()
    bench.set()
    assert bench.export().changed
    assert bench.asked() == again


def test_other_weights_are_another_version(bench: Bench) -> None:
    bench.export()
    bench.checkpoint.write_bytes(b"trained longer")
    assert bench.export().folder == bench.slot / "3"
    assert versions.present(bench.slot) == [1, 2, 3]


def test_another_environment_does_it_anew(bench: Bench) -> None:
    bench.export()
    bench.asked()
    bench.lock.write_text("torch==2\n")
    bench.export()
    assert bench.asked() == ["read", "convert", "answer"]


def test_pictures_have_their_room_on_the_disk_before_they_are_written(tmp_path: Path) -> None:
    dark = ArrayPicture(np.zeros((40, 60, 3), np.uint8))
    sent = Sent(tmp_path, "frames", "rgb")
    sent.write([sent.shown(dark, 160)], 64)  # a hole in the file would end us on a full disk
    for file in sent.files:
        assert file.stat().st_blocks * 512 >= file.stat().st_size


def test_beyond_tolerance_nothing_is_served_and_the_report_stays(bench: Bench) -> None:
    before = bench.served()
    bench.set(off_px=2)
    with pytest.raises(
        ModelError, match=r"exported: a box is 2\.000 px off, 0\.5 are allowed; served: "
    ):
        bench.export()
    assert bench.served() == before
    (report,) = (bench.folder / "work").rglob("parity.txt")
    assert "FAILED" in report.read_text()


def test_a_refusal_names_the_checkpoint_and_the_reason(bench: Bench) -> None:
    bench.set(refuses="is no RTMDet: it has no head")
    with pytest.raises(ModelError, match=r"mine\.pth: is no RTMDet"):
        bench.export()


def test_an_exported_graph_that_the_gate_refuses_is_not_served(bench: Bench) -> None:
    before = bench.served()
    bench.set(domain="mmdeploy")
    with pytest.raises(ModelError, match=r"outside the ONNX standard: \['mmdeploy'\]"):
        bench.export()
    assert bench.served() == before


def test_rolling_back_serves_the_public_model_as_before(bench: Bench) -> None:
    before = (bench.slot / "config.pbtxt").read_text()
    bench.export()
    versions.roll_back(bench.slot)
    assert (bench.slot / "config.pbtxt").read_text() == versions.pinned(before, 1)
    done = up_to_date(NANO, bench.repository)
    assert done is not None
    assert done.sha256 == NANO.prepared_sha256


def silent() -> Console:
    return Console(file=io.StringIO())


async def test_an_exported_model_is_not_replaced_by_the_default(bench: Bench) -> None:
    bench.export()
    before = bench.served()
    places = Places(bench.repository, bench.folder / "store", None)
    assert await install.ensure_models(places, silent(), folders={"object_detector"}) == ()
    assert bench.served() == before


async def test_after_a_roll_back_the_default_is_taken_care_of_again(bench: Bench) -> None:
    bench.export()
    versions.roll_back(bench.slot)
    places = Places(bench.repository, bench.folder / "store", None)
    (done,) = await install.ensure_models(places, silent(), folders={"object_detector"})
    assert not done.changed


async def test_a_model_of_the_manifest_can_be_had_again_by_name(
    bench: Bench, models_mirror: Path
) -> None:
    bench.export()
    places = Places(bench.repository, bench.folder / "store", models_mirror)
    await install.ensure_models(places, silent(), names=[NANO.name])
    assert versions.served(bench.slot) == 1
    assert versions.roll_back(bench.slot, to=2) == (1, 2)


def test_classes_without_names_are_asked_for(bench: Bench) -> None:
    with pytest.raises(ModelError, match="names none of its 1 classes: give them with LABELS"):
        bench.export(labels=None)
    bench.set(labels=["visitor"])
    (note,) = (bench.folder / "work").rglob("summary.json")
    note.unlink()
    bench.export(labels=None)
    assert (bench.slot / "2" / "labels.txt").read_text() == "visitor\n"


@pytest.mark.parametrize(
    "labels",
    [("a", "a"), ('a"b', "c"), ("a,b", "c"), ("a\nb", "c"), ("", "c"), (" a", "c"), ("a",)],
)
def test_labels_that_do_not_fit_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ModelError):
        checked_labels(labels, 2, "mine.pth")


def test_labels_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    assert labels_from("person, traffic light") == ("person", "traffic light")
    (tmp_path / "labels.txt").write_text("person\ntraffic light\n\n")
    assert labels_from(str(tmp_path / "labels.txt")) == ("person", "traffic light")


@pytest.mark.parametrize("words", ["labels.txt", "./labels", "/nowhere/classes"])
def test_a_file_of_labels_that_is_not_there_is_no_label(words: str) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        labels_from(words)


@pytest.mark.parametrize("size", [0, 100, 333, 1312, -320])
def test_a_size_that_the_grids_do_not_fill_is_refused(size: int) -> None:
    with pytest.raises(ModelError, match=f"SIZE={size}: must be a multiple of 32"):
        checked_size(size)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda network: network.name)
def test_the_size_of_every_network_is_one_that_can_be_asked_for(network: Any) -> None:
    assert checked_size(network.size) == network.size
    if network.public is not None:
        assert load().model(network.public).preprocessing.width == network.size


@pytest.mark.parametrize(
    ("form", "precision", "accelerator", "pixels", "way_out"),
    [
        ("torchscript", "fp32", None, "rgb", "not known; onnx"),
        ("onnx", "int4", None, "rgb", "not known; fp32"),
        ("onnx", "fp32", "cuda", "rgb", "not known; openvino"),
        ("tensorrt", "fp32", "openvino", "rgb", "choose one"),
        ("tensorrt", "fp16", None, "rgb", "export FORMAT=onnx PRECISION=fp16"),
        ("tensorrt", "fp32", None, "decoded", "one size of picture.*export PIXELS=planar"),
        ("plan", "fp32", None, "decoded", "one size of picture.*export PIXELS=planar"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_way_out(
    form: str, precision: str, accelerator: str | None, pixels: Pixels, way_out: str
) -> None:
    with pytest.raises(ModelError, match=way_out):
        checked(form, precision, accelerator, pixels)


def test_what_can_be_had_together_is_taken() -> None:
    assert checked("onnx", "fp32", None) == ("fp32", None)
    assert checked("tensorrt", "int8", None) == ("int8", "tensorrt")
    assert checked("onnx", "int8", "openvino") == ("int8", "openvino")
    assert checked("plan", "fp32", None, "planar") == ("fp32", "tensorrt")
    assert checked("onnx", "fp16", "openvino", "decoded") == ("fp16", "openvino")


def test_an_unknown_network_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ModelError, match="yolo: not known; one of rtmdet-nano"):
        named("yolo")

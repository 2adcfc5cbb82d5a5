"""Labelled pictures and fewer bits: AP is measured, what is lost is told, and beyond the limit nothing is served.

The environment is a stand-in (standing_in.py), but COCO's own tool computes the figures.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import version_converter

from export import cost
from export import pictures as sets
from export.accuracy import Accuracy
from export.exported import note_of
from export.gate import admit
from export.graphs.trunk import across_channels, between, inner_convolutions
from export.lowered import Lowered
from export.lowering import fp16, int8
from export.proof import Proof
from export.sent import Sent
from orchestrator.errors import ModelError
from tests.export.bench import SIZE, Bench
from tests.export.footage import PEOPLE_CLIP, pictures
from tests.export.labelling import seen_by, written
from tests.export.standing_in import OPSET


@pytest.fixture(autouse=True)
def in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on fewer frames."""
    monkeypatch.setattr(sets, "AGREED_ON", 32)
    monkeypatch.setattr(sets, "CALIBRATED_ON", 16)
    monkeypatch.setattr(cost, "TURNS", 2)


@pytest.fixture
def people(bench: Bench, clips: Path, tmp_path: Path) -> Path:
    """Annotations of twenty and more people, as the public model sees them."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    model = bench.slot / "1" / "model.onnx"
    return written(
        seen_by(model, pictures(clips / PEOPLE_CLIP, range(60, 160, 10)), folder, copies=3), folder
    )


def on(clips: Path) -> dict[str, Any]:
    """Enough people for a proof."""
    return {"pictures": (clips / PEOPLE_CLIP,)}


def shifted(people: Path, part: float) -> None:
    """Every box a part of its width to the right, as if the wrong pictures had been labelled."""
    content = json.loads(people.read_text())
    for each in content["annotations"]:
        each["bbox"][0] += part * each["bbox"][2]
    people.write_text(json.dumps(content))


def test_ap_of_all_three_is_in_the_report(bench: Bench, people: Path) -> None:
    result = bench.export(labelled=people)
    accuracy = result.proof.accuracy
    assert accuracy is not None
    assert list(accuracy.figures) == ["MMDetection", "exported", "served"]
    assert all(each.ap > 99.0 and each.ar > 99.0 for each in accuracy.figures.values())
    assert accuracy.loss("served") == pytest.approx(0.0, abs=0.2)
    text = (result.folder / "parity.txt").read_text()
    assert f"{accuracy.boxes} boxes in 30 pictures; allowed: 0.5 points of AP: passed" in text
    assert Proof.model_validate_json((result.folder / "parity.json").read_bytes()) == result.proof


def test_ap_is_that_of_the_labels_and_not_of_the_detectors_among_themselves(
    bench: Bench, people: Path
) -> None:
    # Shifted by a ninth of their width, boxes share 0.8 with the right ones: right at 0.50 to 0.75, and the last hair
    # at 0.80 is lost to the box's ends in whole pixels.
    shifted(people, 1 / 9)
    accuracy = bench.export(labelled=people).proof.accuracy
    assert accuracy is not None
    assert accuracy.figures["served"].ap50 > 99.0
    assert 59.0 < accuracy.figures["served"].ap < 71.0


def test_lost_points_fail_the_export_and_nothing_is_served(bench: Bench, people: Path) -> None:
    before = bench.served()
    bench.set(spoils="served")
    with pytest.raises(
        ModelError, match=r"accuracy: served: \d+\.\d\d points of AP are lost, 0\.5 are allowed"
    ):
        bench.export(labelled=people)
    assert bench.served() == before
    (report,) = (bench.folder / "work").rglob("parity.txt")
    assert "points of AP: FAILED" in report.read_text()


def test_the_limit_can_be_set(bench: Bench, people: Path) -> None:
    bench.set(spoils="served")
    assert bench.export(labelled=people, most_loss=100.0).changed


def test_labels_that_mmdetection_does_not_find_prove_nothing(bench: Bench, people: Path) -> None:
    shifted(people, 0.9)
    with pytest.raises(ModelError, match="MMDetection itself finds none of the"):
        bench.export(labelled=people)


def test_an_unknown_class_is_told_before_anything_is_converted(bench: Bench, people: Path) -> None:
    with pytest.raises(ModelError, match=r"labels person, which the model does not know"):
        bench.export(labels=("visitor",), labelled=people)
    assert bench.asked() == []
    bench.set(labels=["visitor"])
    with pytest.raises(ModelError, match=r"labels person, which the model does not know"):
        bench.export(labels=None, labelled=people)
    assert bench.asked() == ["read"]


def test_a_second_export_asks_mmdetection_nothing_about_the_same_labelled_pictures(
    bench: Bench, people: Path
) -> None:
    bench.export(labelled=people)
    assert bench.asked() == ["read", "convert", "answer", "answer", "evaluate"]
    assert not bench.export(labelled=people).changed
    assert bench.asked() == ["evaluate"]
    shifted(people, 0.01)
    bench.export(labelled=people)
    assert bench.asked() == ["evaluate"]  # other boxes, but the same pictures


def test_int8_lands_with_what_it_lost_and_what_it_was_calibrated_on(
    bench: Bench, people: Path, clips: Path
) -> None:
    result = bench.export(precision="int8", labelled=people, most_loss=20.0, **on(clips))
    lowered, spent = result.proof.lowered, result.proof.cost
    assert lowered is not None
    assert lowered.agreement.ap >= 95.0
    assert lowered.accuracy is not None
    assert 80.0 < lowered.accuracy.figures["served"].ap < 100.0
    assert spent is not None
    assert 0.0 < spent.size < 0.6
    note = note_of(result.folder)
    assert note is not None
    (frames,) = (bench.folder / "work").rglob("calibration.rgb.images.npy")
    assert note.options["precision"] == "int8"
    assert note.options["calibration"] == Sent(frames.parent, "calibration", "rgb").digest()
    assert not bench.export(precision="int8", labelled=people, most_loss=20.0, **on(clips)).changed


def test_fewer_bits_that_lose_too_much_are_refused(bench: Bench, people: Path, clips: Path) -> None:
    before = bench.served()
    bench.set(spoils="fewer bits")
    with pytest.raises(
        ModelError, match=r"int8: AP against float32's own rows is 0\.00.*PRECISION=fp32"
    ):
        bench.export(precision="int8", labelled=people, **on(clips))
    assert bench.served() == before


def test_fp32_after_int8_is_another_version(bench: Bench, clips: Path) -> None:
    bench.export(precision="int8", **on(clips))
    again = bench.export()
    assert again.changed
    assert again.proof.lowered is None


def lowered(rows: int, ap: float, kept: int | None = None) -> Lowered:
    figures = {"ap": ap, "ap50": ap, "ar": ap}
    kept = rows if kept is None else kept
    return Lowered.model_validate(
        {"precision": "int8", "rows": rows, "kept": kept, "agreement": figures}
    )


def test_few_sure_rows_prove_nothing_about_fewer_bits() -> None:
    lowered(20, 99.0).require()
    with pytest.raises(ModelError, match="only 19 rows of float32 are sure"):
        lowered(19, 99.0).require()
    with pytest.raises(ModelError, match=r"is 94\.90, at least 95\.0 is needed"):
        lowered(20, 94.9).require()


def test_sure_rows_that_a_client_would_not_see_any_more_are_a_loss_whatever_ap_says() -> None:
    lowered(40, 99.0, kept=38).require()
    with pytest.raises(ModelError, match=r"of 40 rows .* only 37 still have a score of 0\.5"):
        lowered(40, 99.0, kept=37).require()


def test_the_report_says_which_part_failed() -> None:
    figures = {"ap": 99.0, "ap50": 99.0, "ar": 99.0}
    lost = {"MMDetection": figures, "served": {**figures, "ap": 90.0}}
    accuracy = Accuracy.of(40, 60, 1.0, lost)
    agreed, labelled = (
        lowered(40, 99.0).model_copy(update={"accuracy": accuracy}).text().split("on labelled")
    )
    assert "passed" in agreed
    assert "40 rows of float32 from a score of 0.5 as the truth, 40 of them still have it" in agreed
    assert "FAILED" in labelled


@pytest.fixture
def served(bench: Bench, tmp_path: Path) -> Path:
    """In the version of the operators that MMDeploy writes."""
    model = onnx.load(bench.slot / "1" / "model.onnx")
    path = tmp_path / "fp32.onnx"
    onnx.save(version_converter.convert_version(model, OPSET), path)
    return path


def frames(clips: Path) -> Any:
    found = pictures(clips / PEOPLE_CLIP, [60, 90, 120])
    return np.stack([np.resize(each, (SIZE, SIZE, 3)) for each in found])


def kinds(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Types of the zero points, by operator."""
    found: dict[str, set[int]] = {"QuantizeLinear": set(), "DequantizeLinear": set()}
    types = {each.name: each.data_type for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in found:
            found[node.op_type].add(types[node.input[2]])
    return found


def groups(convolution: onnx.NodeProto) -> int:
    return next((each.i for each in convolution.attribute if each.name == "group"), 1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_int8_is_plain_onnx_with_its_signature_and_its_decoding_in_float(
    served: Path, clips: Path, tmp_path: Path, symmetric: bool
) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(
        int8(served, {"images": frames(clips)}, symmetric=symmetric, inputs_only=symmetric)
    )
    model = admit(path, sha256=None)
    source = onnx.load(served)
    assert [each.name for each in model.graph.output] == ["count", "boxes", "scores", "labels"]
    assert model.graph.input[0] == source.graph.input[0]
    makers = {name: node for node in model.graph.node for name in node.output}
    # Depthwise ones stay in float where answers do.
    inner = set(across_channels(source) if symmetric else inner_convolutions(source))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    lowered = {
        node.name
        for node in convolutions
        if getattr(makers.get(node.input[0]), "op_type", "") == "DequantizeLinear"
    }
    assert lowered == inner
    depthwise = {node.name for node in convolutions if groups(node) > 1}
    assert len(depthwise) > 30
    assert inner.isdisjoint(depthwise) is symmetric
    assert 0 < len({node.name for node in convolutions} - inner - depthwise) <= 9
    signed, unsigned = onnx.TensorProto.INT8, onnx.TensorProto.UINT8
    assert kinds(model)["QuantizeLinear"] == {signed if symmetric else unsigned}


def test_symmetric_int8_has_no_offset_anywhere(served: Path, clips: Path, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(
        int8(served, {"images": frames(clips)}, symmetric=True, inputs_only=True)
    )
    values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    points = [
        values[node.input[2]]
        for node in model.graph.node
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    ]
    assert points
    assert all(not point.any() for point in points)


def test_fp16_halves_the_network_and_leaves_pixels_boxes_and_scores(
    served: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fp16.onnx"
    path.write_bytes(fp16(served))
    model = admit(path, sha256=None)
    source = onnx.load(served)
    assert list(model.graph.output) == list(source.graph.output)
    assert model.graph.input[0] == source.graph.input[0]
    types = {each.name: each.data_type for each in model.graph.initializer}
    convolutions = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    inner = set(inner_convolutions(source))
    half = {
        name
        for name, node in convolutions.items()
        if types[node.input[1]] == onnx.TensorProto.FLOAT16
    }
    assert half == inner
    assert inner < set(between(source))
    assert path.stat().st_size < 0.6 * served.stat().st_size


def test_fp16_finds_what_float32_finds_and_serves_float_all_the_same(
    bench: Bench, clips: Path
) -> None:
    result = bench.export(precision="fp16", pictures=(clips / PEOPLE_CLIP,))
    assert result.proof.lowered is not None
    assert result.proof.lowered.agreement.ap > 98.0
    text = (bench.slot / "config.pbtxt").read_text()
    assert "TYPE_FP16" not in text
    assert "_execution_accelerator" not in text

"""MobileFaceNet from its published weights: the folded graph answers as the trained network does."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from export.manifest import load
from export.mobilefacenet import build
from export.prepare import edit
from export.state_dict import read
from export.transfer import digest_of
from orchestrator.errors import ModelError
from orchestrator.picture import ArrayPicture
from orchestrator.recognition.alignment import align
from tests.export.footage import FACE_CLIPS, letterboxed, pictures
from tests.export.mobilefacenets import Floats, State, answer, invented, recovered
from tests.export.state_dicts import saved

PATH = Path("mobilefacenet.pt")
FILE = load().model("mobilefacenet_foamliu_112")
BUILT = load().model("mobilefacenet_foamliu_pt")
STATE = invented()


def asked(model: onnx.ModelProto, value: NDArray[np.generic]) -> Floats:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {session.get_inputs()[0].name: value})
    return np.asarray(found, np.float64)


def cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("seed", [0, 1])
def test_batch_norms_of_any_statistics_are_folded_without_a_trace(seed: int) -> None:
    state = invented(seed)
    picture = np.random.default_rng(seed).normal(size=(3, 112, 112)).astype(np.float32)
    wanted = answer(state, picture.astype(np.float64))
    (found,) = asked(build(read(saved(state), PATH), PATH), picture[np.newaxis])
    assert np.ptp(wanted) > 1
    # Float32 against float64, over 51 layers.
    np.testing.assert_allclose(found, wanted, atol=2e-4 * float(np.abs(wanted).max()))
    assert cosine(found, wanted) > 0.9999999


def test_what_comes_out_is_plain_onnx_with_the_signature_of_the_file_in_the_mirror() -> None:
    model = build(STATE, PATH)
    onnx.checker.check_model(model, full_check=True)
    for expected, given in ((FILE.inputs, model.graph.input), (FILE.outputs, model.graph.output)):
        (wanted,), (value,) = expected, given
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        assert (value.name, shape) == (wanted.name, wanted.shape)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert {node.op_type for node in model.graph.node} == {"Conv", "Clip", "Relu", "Add", "Flatten"}
    assert (model.opset_import[0].version, model.ir_version) == (18, 8)


def test_the_same_weights_give_the_same_bytes_in_whatever_order_they_come() -> None:
    backwards = dict(reversed(STATE.items()))
    first, second = (
        build(read(saved(state), PATH), PATH).SerializeToString(deterministic=True)
        for state in (STATE, backwards)
    )
    assert first == second


@pytest.fixture(scope="module")
def crops(models_mirror: Path, clips: Path) -> NDArray[np.uint8]:
    """Real faces, aligned as the orchestrator does it."""
    finder = load().model("face_detection_yunet_2026may")
    session = onnxruntime.InferenceSession(
        edit(models_mirror / finder.file, finder).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    frames = [frame for clip in FACE_CLIPS for frame in pictures(clips / clip, [5, 40])]
    squares = [letterboxed(frame, 320, 0) for frame in frames]
    (landmarks,) = session.run(["landmarks"], {"images": np.stack(squares)})
    found = zip(squares, landmarks, strict=True)
    return np.stack([align(ArrayPicture(square), faces[0]) for square, faces in found])


def test_built_and_prepared_it_embeds_pictures_as_the_file_in_the_mirror_does(
    tmp_path: Path, models_mirror: Path, crops: NDArray[np.uint8]
) -> None:
    file = models_mirror / FILE.file
    source = tmp_path / BUILT.file
    source.write_bytes(saved(recovered(file.read_bytes())))
    known = BUILT.model_copy(update={"sha256": digest_of(source), "size": None})
    wanted, found = (asked(edit(*each), crops) for each in ((file, FILE), (source, known)))
    assert len(crops) == 8
    for one, other in zip(wanted, found, strict=True):
        assert cosine(one, other) > 0.99999


def changed(**changes: NDArray[np.generic] | None) -> State:
    state = {name: value for name, value in STATE.items() if changes.get(name, value) is not None}
    return state | {name: value for name, value in changes.items() if value is not None}


LONE = np.array([np.nan] + [1] * 127, np.float32)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, r"lacks bn\.bias, 256 in all"),
        (changed(**{"conv3.bias": None}), r"is not MobileFaceNet: it lacks conv3\.bias, 1 in all"),
        (changed(**{"features.15.conv.2.weight": LONE}), r"it knows features\.15\.conv\.2\.weight"),
        (changed(**{"conv3.bias": LONE[:64]}), r"conv3\.bias is float32 \(64,\), not .* \(128,\)"),
        (changed(**{"bn.bias": np.ones(128, np.int64)}), r"bn\.bias is int64 \(128,\)"),
        (changed(**{"bn.bias": LONE}), r"bn\.bias holds numbers that are not finite"),
        (changed(**{"bn.weight": LONE * np.inf}), r"bn\.weight holds numbers that are not finite"),
        (changed(**{"bn.running_var": np.full(128, -1, np.float32)}), r"holds a negative variance"),
        (
            changed(**{"bn.weight": np.full(128, 3e38, np.float32)}),
            r"conv3 and bn together are not",
        ),
    ],
)
def test_what_is_not_this_network_is_named(state: State, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"mobilefacenet\.pt: .*{reason}"):
        build(state, PATH)

"""Prepared models answer as the untouched ones do: on real frames, alone and in batches of different frames.

The untouched models run on ONNX Runtime with the preprocessing of their publishers, written out here in
NumPy; boxes within 1 pixel, scores within 0.001, embeddings within a cosine of 0.999.
"""

import asyncio
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc.aio as triton_client
from numpy.typing import NDArray

from export.manifest import Model, load
from orchestrator.embedded.triton import EmbeddedTriton
from tests.export.footage import FACE_CLIPS, PEOPLE_CLIP, letterboxed, pictures

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Answer = dict[str, NDArray[np.generic]]

DETECTOR, FACES, EMBEDDER = (
    load().model(name)
    for name in (
        "rtmdet_nano_person_320",
        "face_detection_yunet_2026may",
        "mobilefacenet_foamliu_112",
    )
)
BATCHES = pytest.mark.parametrize("batch", [1, 3, 8])


class Network:
    """An ONNX file on ONNX Runtime, on one thread."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, value: NDArray[np.generic]) -> Answer:
        answers = self._session.run(self._outputs, {self._input: value})
        return dict(zip(self._outputs, answers, strict=True))


@pytest.fixture(scope="module")
def people(clips: Path) -> Pixels:
    """Frames with nobody, one person, and one at the edge."""
    frames = pictures(clips / PEOPLE_CLIP, [0, 60, 80, 100, 120, 150, 300, 420])
    return np.stack([letterboxed(frame, 320, 114) for frame in frames])


@pytest.fixture(scope="module")
def portraits(clips: Path) -> Pixels:
    frames = [frame for clip in FACE_CLIPS for frame in pictures(clips / clip, [5, 40])]
    return np.stack([letterboxed(frame, 320, 0) for frame in frames])


def prepared(model: Model, served_models: Path) -> Network:
    return Network(served_models / model.slot / "1" / "model.onnx")


def floats(*values: float) -> Floats:
    return np.array(values, np.float32)


def planes(images: Pixels) -> Floats:
    return np.ascontiguousarray(images.astype(np.float32).transpose(0, 3, 1, 2))


def overlap(box: Floats, others: Floats) -> Floats:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return np.asarray(shared / ((box[2] - box[0]) * (box[3] - box[1]) + area - shared), np.float32)


def suppressed(rows: Floats, iou: float) -> Floats:
    """Greedy suppression: rows are x1, y1, x2, y2, score, and whatever else."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    kept: list[Floats] = []
    while len(rows):
        kept.append(rows[0])
        rows = rows[1:][overlap(rows[0], rows[1:]) <= iou]
    return np.stack(kept) if kept else rows


def counted(answer: Answer, picture: int, *columns: str) -> Floats:
    """The rows of one picture that count, columns side by side."""
    count = int(answer["count"][picture, 0])
    parts = [np.asarray(answer[name][picture, :count], np.float32) for name in columns]
    return np.concatenate([part.reshape(count, -1) for part in parts], axis=1)


@BATCHES
def test_people_are_found_where_the_untouched_detector_finds_them(
    batch: int, people: Pixels, models_mirror: Path, served_models: Path
) -> None:
    mean, deviation = floats(103.53, 116.28, 123.675), floats(57.375, 57.12, 58.395)
    untouched = Network(models_mirror / DETECTOR.file)
    answer = prepared(DETECTOR, served_models)(people[-batch:])
    found = 0
    for picture, image in enumerate(people[-batch:]):
        scaled = (image[np.newaxis, ..., ::-1] - mean) / deviation
        rows = untouched(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32))["dets"][0]
        # Both lists are suppressed again as the client does it, for the baked-in limits differ.
        wanted = suppressed(np.asarray(rows, np.float32)[rows[:, 4] > 0.1], 0.45)
        ours = counted(answer, picture, "boxes", "scores")
        ours = suppressed(ours[ours[:, 4] > 0.1], 0.45)
        assert len(ours) == len(wanted)
        np.testing.assert_allclose(ours[:, :4], wanted[:, :4], atol=1.0)
        np.testing.assert_allclose(ours[:, 4], wanted[:, 4], atol=1e-3)
        found += int((wanted[:, 4] > 0.5).sum())
    assert found > 0


def decoded(raw: Answer) -> Floats:
    """YuNet's raw answer for one picture of 320 x 320: x1, y1, x2, y2, score and ten landmark coordinates."""
    rows = []
    for stride in (8, 16, 32):
        side = 320 // stride
        row, column = np.divmod(np.arange(side * side), side)
        cls, obj, box, points = (
            np.asarray(raw[f"{head}_{stride}"][0], np.float32)
            for head in ("cls", "obj", "bbox", "kps")
        )
        centre = (np.stack([column, row], axis=1) + box[:, :2]) * stride
        size = np.exp(box[:, 2:]) * stride
        marks = (points.reshape(-1, 5, 2) + np.stack([column, row], axis=1)[:, np.newaxis]) * stride
        score = np.sqrt(cls * obj)
        corners = [centre - size / 2, centre + size / 2]
        rows.append(np.concatenate([*corners, score, marks.reshape(-1, 10)], axis=1))
    return np.concatenate(rows).astype(np.float32)


@BATCHES
def test_faces_and_landmarks_are_those_of_the_untouched_detector(
    batch: int, portraits: Pixels, models_mirror: Path, served_models: Path
) -> None:
    untouched = Network(models_mirror / FACES.file)
    answer = prepared(FACES, served_models)(portraits[:batch])
    for picture, image in enumerate(portraits[:batch]):
        rows = decoded(untouched(planes(image[np.newaxis, ..., ::-1])))
        wanted = suppressed(rows[rows[:, 4] > 0.3], 0.3)
        ours = counted(answer, picture, "boxes", "scores", "landmarks")
        assert len(ours) == len(wanted) > 0
        np.testing.assert_allclose(ours[:, :4], wanted[:, :4], atol=1.0)
        np.testing.assert_allclose(ours[:, 4], wanted[:, 4], atol=1e-3)
        np.testing.assert_allclose(ours[:, 5:], wanted[:, 5:], atol=1.0)


def test_landmarks_come_in_the_order_that_the_rest_of_the_system_expects(
    portraits: Pixels, served_models: Path
) -> None:
    answer = prepared(FACES, served_models)(portraits)
    for picture in range(len(portraits)):
        right_eye, left_eye, nose, right_mouth, left_mouth = answer["landmarks"][picture, 0]
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


@pytest.fixture(scope="module")
def crops(portraits: Pixels, served_models: Path) -> Pixels:
    """Squares around the found faces; alignment does not matter here, only that the pixels are real."""
    boxes = np.asarray(prepared(FACES, served_models)(portraits)["boxes"], np.float32)[:, 0]
    cut = []
    for image, (x1, y1, x2, y2) in zip(portraits, boxes.round().astype(int), strict=True):
        cut.append(letterboxed(image[max(y1, 0) : y2, max(x1, 0) : x2], 112, 0))
    return np.stack(cut)


@BATCHES
def test_embeddings_point_where_those_of_the_untouched_model_point(
    batch: int, crops: Pixels, models_mirror: Path, served_models: Path
) -> None:
    mean, deviation = floats(0.485, 0.456, 0.406), floats(0.229, 0.224, 0.225)
    untouched = Network(models_mirror / EMBEDDER.file)
    embedding = np.asarray(prepared(EMBEDDER, served_models)(crops[:batch])["embedding"])
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)
    for ours, crop in zip(embedding, crops, strict=False):
        scaled = (crop.astype(np.float32) / 255 - mean) / deviation
        raw = untouched(np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis]))["output0"][0]
        assert float(raw @ ours / np.linalg.norm(raw)) > 0.999


@pytest.mark.parametrize("model", [DETECTOR, FACES], ids=lambda model: model.slot)
def test_a_black_and_a_white_picture_between_others_change_nothing(
    model: Model, people: Pixels, served_models: Path
) -> None:
    network = prepared(model, served_models)
    mixed = people[:4].copy()
    mixed[0], mixed[2] = 0, 255
    together, alone = network(mixed), network(people[3:4])
    for name, value in alone.items():
        np.testing.assert_allclose(
            np.asarray(together[name][3], np.float64), np.asarray(value[0], np.float64), atol=1e-3
        )


@pytest.fixture(params=[(DETECTOR, "people"), (FACES, "portraits"), (EMBEDDER, "crops")])
def served(request: pytest.FixtureRequest) -> tuple[Model, Pixels]:
    model, name = request.param
    return model, request.getfixturevalue(name)


@pytest.mark.xdist_group("triton")
@BATCHES
async def test_triton_serves_the_same_answers(
    batch: int, served: tuple[Model, Pixels], triton: EmbeddedTriton, served_models: Path
) -> None:
    model, images = served
    wanted = prepared(model, served_models)(images[:batch])
    async with triton_client.InferenceServerClient(triton.grpc_url) as client:
        answer = await _ask(client, model.slot, images[:batch])
        for name, value in wanted.items():
            wanted_values = np.asarray(value, np.float64)
            np.testing.assert_allclose(answer.as_numpy(name), wanted_values, rtol=1e-3, atol=1e-3)


@pytest.mark.xdist_group("triton")
async def test_no_request_stands_still_until_the_queue_refuses_it(
    people: Pixels, triton: EmbeddedTriton
) -> None:
    """Triton 24.10 with a queue policy and one instance forgets about one request in a hundred."""
    async with triton_client.InferenceServerClient(triton.grpc_url) as client:

        async def camera() -> None:
            for _ in range(60):
                await _ask(client, "object_detector", people[:1])

        for cameras in (1, 3):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(cameras):
                    tasks.create_task(camera())


async def _ask(
    client: triton_client.InferenceServerClient, name: str, images: Pixels
) -> triton_client.InferResult:
    given = triton_client.InferInput(
        "crops" if name == "face_embedder" else "images", images.shape, "UINT8"
    )
    given.set_data_from_numpy(images)
    return await client.infer(name, [given])

"""The orchestrator's models through a real Triton give what ONNX Runtime gives on the same frames in process."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from orchestrator.app import make_triton_client
from orchestrator.detection import Detections
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import (
    InferenceOutdated,
    InferenceStale,
    InferenceUnavailable,
    SettingsError,
)
from orchestrator.face import Faces
from orchestrator.inference.letterbox import letterbox
from orchestrator.inference.models import FaceModels, Models, load_models
from orchestrator.inference.triton import TritonClient
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture, Picture
from orchestrator.recognition.alignment import align
from orchestrator.settings import DetectorSettings, FacesSettings, Settings, TritonSettings
from tests.export.footage import FACE_CLIPS, PEOPLE_CLIP, pictures
from tests.recognition.networks import LocalFaceDetector, LocalFaceEmbedder, session

pytestmark = pytest.mark.xdist_group("triton")

PATIENCE_S = 60.0  # the machine is shared
SCORE = 0.25


def soon() -> float:
    return time.monotonic() + PATIENCE_S


@pytest.fixture
def settings(triton: EmbeddedTriton) -> Settings:
    return Settings(
        triton=TritonSettings(url=triton.grpc_url, timeout=PATIENCE_S),
        detector=DetectorSettings(score_threshold=SCORE),
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[TritonClient]:
    client = make_triton_client(settings, Metrics(CollectorRegistry()), patient=True)
    yield client
    await client.close()


@pytest.fixture
async def models(client: TritonClient, settings: Settings) -> Models:
    return await load_models(client, settings)


@pytest.fixture
def face_models(models: Models) -> FaceModels:
    assert models.faces is not None
    return models.faces


@pytest.fixture(scope="module")
def people(clips: Path) -> list[ArrayPicture]:
    """Frames with nobody, one person, and one at the edge."""
    return [ArrayPicture(rgb) for rgb in pictures(clips / PEOPLE_CLIP, [0, 80, 100, 150, 300, 420])]


@pytest.fixture(scope="module")
def portraits(clips: Path) -> list[ArrayPicture]:
    return [ArrayPicture(rgb) for clip in FACE_CLIPS for rgb in pictures(clips / clip, [5, 25, 40])]


def found_directly(served_models: Path, picture: Picture) -> Detections:
    network = session(served_models / "object_detector" / "1" / "model.onnx")
    boxed = letterbox(picture, 320)
    names = ["count", "boxes", "scores", "labels"]
    count, boxes, scores, labels = network.run(names, {"images": boxed.image[np.newaxis]})
    rows = np.flatnonzero(scores[0, : int(count[0, 0])] >= SCORE)
    xyxy = boxed.to_source(boxes[0, rows].reshape(-1, 2, 2)).reshape(-1, 4)
    return Detections(xyxy, scores[0, rows], labels[0, rows])


def same_objects(one: Detections, other: Detections) -> bool:
    return (
        len(one) == len(other)
        and np.allclose(one.xyxy, other.xyxy, atol=1.0)
        and np.allclose(one.confidence, other.confidence, atol=1e-3)
        and np.array_equal(one.class_id, other.class_id)
    )


def same_faces(one: Faces, other: Faces) -> bool:
    return (
        len(one) == len(other)
        and np.allclose(one.xyxy, other.xyxy, atol=1.0)
        and np.allclose(one.landmarks, other.landmarks, atol=1.0)
        and np.allclose(one.confidence, other.confidence, atol=1e-3)
    )


async def test_a_model_says_who_it_is_and_what_it_knows(models: Models) -> None:
    assert models.labels == ("person",)
    assert models.detector.model.version.name == "object_detector"
    assert len(models.detector.model.version.sha256) == 64
    assert models.faces is not None
    assert models.faces.embedder.dimension == 128
    assert 0.0 < models.faces.match_threshold < 1.0
    digests = {models.faces.detector.model.sha256, models.faces.embedder.model.sha256}
    assert len(digests) == 2


async def test_where_faces_are_switched_off_no_face_model_is_asked_for(
    client: TritonClient, settings: Settings
) -> None:
    off = settings.model_copy(update={"faces": FacesSettings(enabled=False, detector_model="none")})
    assert (await load_models(client, off)).faces is None


async def test_a_model_that_is_not_served_is_told_with_the_mend(client: TritonClient) -> None:
    with pytest.raises(InferenceUnavailable, match=r"does not serve unicorns.*fess models fetch"):
        await client.describe("unicorns")


async def test_a_class_that_is_not_known_is_told_with_those_that_are(
    client: TritonClient, settings: Settings
) -> None:
    wrong = settings.model_copy(update={"detector": DetectorSettings(classes=("unicorn",))})
    with pytest.raises(SettingsError, match=r"unicorn is not a label .* person"):
        await load_models(client, wrong)


async def test_objects_are_those_that_the_network_finds_in_process(
    models: Models, served_models: Path, people: list[ArrayPicture]
) -> None:
    answers = [await models.detector.detect(picture, deadline_s=soon()) for picture in people]
    expected = [found_directly(served_models, picture) for picture in people]
    assert all(map(same_objects, answers, expected))
    assert sum(map(len, answers)) >= 3
    assert len(answers[0]) == 0


async def test_each_of_many_requests_at_once_gets_the_answer_to_its_own_frame(
    models: Models, people: list[ArrayPicture]
) -> None:
    alone = [await models.detector.detect(picture, deadline_s=soon()) for picture in people]
    async with asyncio.TaskGroup() as tasks:
        asked = [
            (number, tasks.create_task(models.detector.detect(picture, deadline_s=soon())))
            for _ in range(5)
            for number, picture in enumerate(people)
        ]
    assert all(same_objects(task.result(), alone[number]) for number, task in asked)


async def test_faces_are_those_that_the_network_finds_in_process(
    face_models: FaceModels, served_models: Path, portraits: list[ArrayPicture]
) -> None:
    local = LocalFaceDetector(served_models)
    for picture in portraits:
        whole = (0, 0, picture.width, picture.height)
        found = await face_models.detector.detect(picture, whole, deadline_s=soon())
        assert same_faces(found, await local.detect(picture, whole, deadline_s=0.0))
        assert len(found) == 1


async def test_a_face_in_a_part_of_the_picture_is_told_in_pixels_of_the_whole(
    face_models: FaceModels, portraits: list[ArrayPicture]
) -> None:
    picture = portraits[0]
    whole = (0, 0, picture.width, picture.height)
    (box,) = (await face_models.detector.detect(picture, whole, deadline_s=soon())).xyxy
    side = float(box[3] - box[1])
    part = (
        int(box[0] - side),
        int(box[1] - side),
        int(box[2] + side),
        int(box[3] + side),
    )
    (again,) = (await face_models.detector.detect(picture, part, deadline_s=soon())).xyxy
    assert np.abs(again - box).max() < 0.15 * side


@pytest.mark.parametrize("region", [(10, 10, 10, 200), (-50, -50, 0, 0), (5000, 0, 6000, 100)])
async def test_no_face_is_outside_the_picture(
    face_models: FaceModels, portraits: list[ArrayPicture], region: tuple[int, int, int, int]
) -> None:
    assert len(await face_models.detector.detect(portraits[0], region, deadline_s=soon())) == 0


@pytest.mark.parametrize("count", [0, 1, 3, 11])
async def test_embeddings_are_those_of_the_network_in_process_however_many_at_once(
    face_models: FaceModels, served_models: Path, portraits: list[ArrayPicture], count: int
) -> None:
    crops = (await aligned(served_models, portraits))[:count]
    answer = await face_models.embedder.embed(crops, deadline_s=soon())
    assert answer.model == face_models.embedder.model
    found = answer.vectors
    local = LocalFaceEmbedder(served_models)
    expected = [await local.embed(crop[np.newaxis], deadline_s=0.0) for crop in crops]
    assert found.shape == (count, 128)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-3)
    assert all(
        float(one @ other.vectors[0]) > 0.999 for one, other in zip(found, expected, strict=True)
    )


async def aligned(served_models: Path, portraits: list[ArrayPicture]) -> NDArray[np.uint8]:
    local, crops = LocalFaceDetector(served_models), []
    for picture in portraits:
        whole = (0, 0, picture.width, picture.height)
        faces = await local.detect(picture, whole, deadline_s=0.0)
        crops.append(align(picture, faces.landmarks[0]))
    return np.stack(crops)


async def test_a_frame_past_its_deadline_is_not_asked_about(
    models: Models, people: list[ArrayPicture]
) -> None:
    with pytest.raises(InferenceStale, match="too old"):
        await models.detector.detect(people[0], deadline_s=time.monotonic() - 1.0)


async def test_a_request_of_a_wrong_shape_says_nothing_against_the_server(
    client: TritonClient, models: Models, people: list[ArrayPicture]
) -> None:
    served = await client.describe("object_detector")
    for _ in range(10):
        with pytest.raises(InferenceOutdated, match="object_detector"):
            await client.infer(
                served, np.zeros((1, 64, 64, 3), np.uint8), ("count",), deadline_s=soon()
            )
    assert len(await models.detector.detect(people[0], deadline_s=soon())) == 0


async def test_the_server_says_that_it_is_well_and_how_long_it_took(client: TritonClient) -> None:
    assert 0.0 < await client.check() < PATIENCE_S

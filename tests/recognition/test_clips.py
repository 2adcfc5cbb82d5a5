"""Recognition of real people: enrolled from one clip, known in another; the one never enrolled is never named."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.metrics import Metrics
from orchestrator.ports import Recognition
from orchestrator.recognition.enrolled import new_person
from orchestrator.recognition.enrolment import Examiner, Sample
from orchestrator.recognition.gallery import FixedGallery, Gallery
from orchestrator.recognition.recogniser import FaceRecogniser
from orchestrator.settings import FacesSettings
from tests.recognition.footage import BEGIN, frames, whole
from tests.recognition.networks import THRESHOLD, LocalFaceDetector, LocalFaceEmbedder

pytestmark = pytest.mark.xdist_group("clips")

ENROLLED = {"A": "face_again", "B": "face_bird", "C": "face_book"}
KNOWN = {"A": "face_brother", "B": "face_milk", "C": "face_learn"}
STRANGER = ("face_eat", "face_night")


class Room:
    """The real models, and the three people enrolled from one clip each."""

    def __init__(
        self,
        detector: LocalFaceDetector,
        embedder: LocalFaceEmbedder,
        clips: Path,
        gallery: Gallery,
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.clips = clips
        self.gallery = gallery

    async def watch(self, clip: str, fps: float = 5.0) -> list[Recognition]:
        recogniser = FaceRecogniser(
            clip,
            self.detector,
            self.embedder,
            FixedGallery(self.gallery),
            threshold=THRESHOLD,
            settings=FacesSettings(),
            metrics=Metrics(CollectorRegistry()),
        )
        found: list[Recognition] = []
        for shown in frames(self.clips / f"{clip}.mkv", fps):
            found += await recogniser.recognise(shown, (whole(shown),), deadline_s=1e9)
        return found


async def enrol(detector: LocalFaceDetector, embedder: LocalFaceEmbedder, clips: Path) -> Gallery:
    examiner = Examiner(detector, embedder, FacesSettings(), threshold=THRESHOLD)
    subjects = []
    for name, clip in ENROLLED.items():
        examined = await examiner.video(samples(clips / f"{clip}.mkv"))
        faces = [face.enrolled(BEGIN) for face in examined.accepted]
        subjects.append(new_person(name, True, embedder.model, faces).subject())
    return Gallery(embedder.model, 128, subjects)


async def samples(clip: Path) -> AsyncIterator[Sample]:
    for shown in frames(clip, fps=5):
        yield Sample(f"{shown.pts_s:.1f} s", shown.picture)


@pytest.fixture(scope="module")
def enrolled(detector: LocalFaceDetector, embedder: LocalFaceEmbedder, clips: Path) -> Gallery:
    return asyncio.run(enrol(detector, embedder, clips))


@pytest.fixture
def room(
    detector: LocalFaceDetector, embedder: LocalFaceEmbedder, clips: Path, enrolled: Gallery
) -> Room:
    return Room(detector, embedder, clips, enrolled)


@pytest.mark.parametrize("name", KNOWN)
async def test_an_enrolled_person_is_named_in_another_clip_and_only_once(
    room: Room, name: str
) -> None:
    (found,) = await room.watch(KNOWN[name])
    assert found.identity.person_name == name
    assert found.identity.confidence >= THRESHOLD
    assert found.identity.faces >= 2


@pytest.mark.parametrize("clip", STRANGER)
@pytest.mark.parametrize("fps", [5.0, 30.0])
async def test_a_person_never_enrolled_is_a_stranger_and_never_named(
    room: Room, clip: str, fps: float
) -> None:
    (found,) = await room.watch(clip, fps)
    assert found.identity.person_name is None
    assert found.identity.face_id.startswith("unknown-")
    assert not found.identity.is_authorized


async def test_without_a_gallery_nobody_is_named(room: Room) -> None:
    room.gallery = Gallery.empty(room.embedder.model, 128)
    (found,) = await room.watch("face_brother")
    assert not found.identity.is_known


async def test_the_same_clip_gives_the_same_decisions(room: Room) -> None:
    first, again = await room.watch("face_milk"), await room.watch("face_milk")
    assert [found.identity for found in first] == [found.identity for found in again]

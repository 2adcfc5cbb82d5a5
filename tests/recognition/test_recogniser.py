"""The recogniser: whom it looks at, what it counts, and when it speaks."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from orchestrator.errors import (
    InferenceInvalid,
    InferenceOutdated,
    InferenceStale,
    InferenceUnavailable,
)
from orchestrator.face import FaceQuality
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.metrics import Metrics
from orchestrator.model_version import ModelVersion
from orchestrator.ports import Recogniser, Recognition
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.recogniser import MAX_LOOKS, FaceRecogniser
from orchestrator.settings import FacesSettings
from orchestrator.track import Track
from tests.recognition.footage import frame, person
from tests.recognition.scripted import PaintedFace, ScriptedDetector, ScriptedEmbedder, paint
from tests.recognition.vectors import axis, gallery, subject, three_people

ADA, BEN, NOBODY = 0, 1, 6


class Shelf:
    """A gallery that a test may change, and a store that remembers what it was given."""

    def __init__(self) -> None:
        self.current: Gallery = three_people()
        self.stored: list[tuple[str, NDArray[np.float32]]] = []

    def put_face(
        self,
        identity: Identity,
        embedding: NDArray[np.float32],
        quality: FaceQuality,
        frame: Frame,
        track_id: int,
        model: ModelVersion,
    ) -> None:
        self.stored.append((identity.face_id, embedding))


class Camera:
    """A recogniser and its scripted surroundings; every step is one inspected frame."""

    def __init__(self) -> None:
        self.detector = ScriptedDetector()
        self.embedder = ScriptedEmbedder()
        self.shelf = Shelf()
        self.metrics = Metrics(CollectorRegistry())
        self.pts_s = 0.0
        self.recogniser = FaceRecogniser(
            "door",
            self.detector,
            self.embedder,
            self.shelf,
            threshold=0.55,
            settings=FacesSettings(),
            metrics=self.metrics,
            store=self.shelf,
        )

    async def step(
        self, *faces: PaintedFace, persons: tuple[Track, ...] | None = None, after_s: float = 0.2
    ) -> tuple[Recognition, ...]:
        self.pts_s += after_s
        self.detector.faces = list(faces)
        if persons is None:
            persons = (person(1, 0, 0, 640, 480),)
        shown = frame(paint(*faces), self.pts_s)
        return await self.recogniser.recognise(shown, persons, deadline_s=1e9)

    async def names(self, count: int, *faces: PaintedFace) -> list[str | None]:
        """Who was decided in so many frames."""
        return [
            found.identity.person_name for _ in range(count) for found in await self.step(*faces)
        ]

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def hits(self) -> float:
        return self.count("fess_face_cache_hits_total")

    @property
    def misses(self) -> float:
        return self.count("fess_face_cache_misses_total")


@pytest.fixture
def camera() -> Camera:
    return Camera()


def middle(who: int) -> PaintedFace:
    return PaintedFace(who, 260, 120)


def test_it_is_a_recogniser(camera: Camera) -> None:
    recogniser: Recogniser = camera.recogniser
    assert recogniser.identity(1) is None


async def test_an_enrolled_person_is_reported_once(camera: Camera) -> None:
    assert await camera.names(10, middle(ADA)) == ["Ada"]
    identity = camera.recogniser.identity(1)
    assert identity is not None
    assert identity.person_name == "Ada"


async def test_a_report_says_where_the_face_was(camera: Camera) -> None:
    await camera.step(middle(ADA))
    (found,) = await camera.step(middle(ADA))
    assert found.track_id == 1
    assert found.seen.face_xyxy == pytest.approx(middle(ADA).xyxy)


async def test_a_stranger_is_reported_once_under_an_anonymous_id(camera: Camera) -> None:
    assert await camera.names(12, middle(NOBODY)) == [None]
    identity = camera.recogniser.identity(1)
    assert identity is not None
    assert identity.face_id.startswith("unknown-")


async def test_a_miss_is_an_embedding_and_a_hit_is_an_identity_that_was_there(
    camera: Camera,
) -> None:
    await camera.names(10, middle(ADA))
    assert (camera.misses, camera.hits) == (2, 8)
    assert camera.embedder.batches == [1, 1]


async def test_a_frame_without_a_face_is_neither_hit_nor_miss(camera: Camera) -> None:
    await camera.names(5)
    assert (camera.misses, camera.hits) == (0, 0)


async def test_looks_at_one_track_are_spaced_in_stream_time(camera: Camera) -> None:
    for _ in range(30):
        await camera.step(middle(NOBODY), after_s=1 / 30)
    assert sum(camera.embedder.batches) <= 7


async def test_a_decided_track_costs_nothing_until_its_next_check(camera: Camera) -> None:
    await camera.names(2, middle(ADA))
    looks = len(camera.detector.regions)
    await camera.names(49, middle(ADA))
    assert len(camera.detector.regions) == looks
    await camera.names(2, middle(ADA))
    assert len(camera.detector.regions) == looks + 1


async def test_a_track_that_shows_no_face_is_looked_at_more_rarely(camera: Camera) -> None:
    await camera.names(50)
    assert 8 <= len(camera.detector.regions) <= 20


async def test_a_crowd_is_looked_at_a_few_at_a_time_until_everybody_had_a_turn(
    camera: Camera,
) -> None:
    people = tuple(person(i, 63 * i, 0, 63 * i + 62, 300) for i in range(10))
    faces = [PaintedFace(ADA if i % 2 else BEN, 63 * i - 2, 5, scale=0.6) for i in range(10)]
    decided: list[int] = []
    for _ in range(40):
        before = len(camera.detector.regions)
        decided += [
            found.track_id
            for found in await camera.step(*faces, persons=people)
            if found.identity.is_known
        ]
        assert len(camera.detector.regions) - before <= MAX_LOOKS
    assert sorted(decided) == list(range(10))


async def test_all_faces_of_a_frame_are_embedded_in_one_batch(camera: Camera) -> None:
    people = (person(1, 0, 0, 200, 400), person(2, 300, 0, 500, 400))
    await camera.step(PaintedFace(ADA, 44, 20), PaintedFace(BEN, 344, 20), persons=people)
    assert camera.embedder.batches == [2]


async def test_a_face_in_two_boxes_names_only_the_person_it_belongs_to(camera: Camera) -> None:
    front, behind = person(1, 100, 200, 260, 470), person(2, 180, 40, 320, 460)
    decided: list[Recognition] = []
    for _ in range(4):
        decided += await camera.step(PaintedFace(ADA, 210, 42, 0.6), persons=(front, behind))
    assert [found.track_id for found in decided] == [2]


@pytest.mark.parametrize(
    ("face", "reason"),
    [
        (PaintedFace(ADA, 200, 60, scale=0.5), "too_small"),
        (PaintedFace(ADA, -40, 100), "cut_off"),
    ],
)
async def test_a_face_that_is_not_fit_is_counted_under_its_reason(
    camera: Camera, face: PaintedFace, reason: str
) -> None:
    for _ in range(3):
        assert await camera.step(face, persons=(person(1, 0, 40, 300, 400),)) == ()
    assert camera.embedder.batches == []
    assert camera.count("fess_faces_refused_total", reason=reason) == 3


async def test_a_face_between_two_people_is_counted_as_ambiguous(camera: Camera) -> None:
    twins = (person(1, 100, 100, 300, 400), person(2, 104, 101, 304, 400))
    assert await camera.step(PaintedFace(ADA, 145, 100), persons=twins) == ()
    assert camera.count("fess_faces_refused_total", reason="ambiguous") == 1


async def test_a_failing_detector_fails_the_frame_with_one_error(camera: Camera) -> None:
    camera.detector.failure = InferenceUnavailable("down")
    people = (person(1, 0, 0, 200, 400), person(2, 300, 0, 500, 400))
    with pytest.raises(InferenceUnavailable, match="down"):
        await camera.step(middle(ADA), persons=people)


async def test_after_a_failure_recognition_goes_on(camera: Camera) -> None:
    camera.embedder.failure = InferenceStale("late")
    with pytest.raises(InferenceStale):
        await camera.step(middle(ADA))
    camera.embedder.failure = None
    assert await camera.names(2, middle(ADA)) == ["Ada"]


@pytest.mark.parametrize(
    "answer",
    [np.full((1, 8), np.nan, np.float32), np.ones((1, 512), np.float32), axis(0)],
    ids=["NaN", "another dimension", "another shape"],
)
async def test_an_embedding_that_cannot_be_one_is_refused(
    camera: Camera, answer: NDArray[np.float32]
) -> None:
    camera.embedder.answer = answer
    with pytest.raises(InferenceInvalid):
        await camera.step(middle(ADA))
    assert camera.recogniser.identity(1) is None
    assert camera.misses == 0


async def test_a_track_that_ended_is_forgotten(camera: Camera) -> None:
    await camera.names(2, middle(ADA))
    assert camera.recogniser.conclude((1, 99)) == ()
    assert camera.recogniser.identity(1) is None


async def test_somebody_who_leaves_before_the_decision_is_a_stranger_where_the_face_was_last(
    camera: Camera,
) -> None:
    await camera.names(1, middle(NOBODY))
    last = PaintedFace(NOBODY, 200, 120)
    await camera.names(1, last)
    await camera.names(1)  # turned away
    (found,) = camera.recogniser.conclude((1,))
    assert found.track_id == 1
    assert (found.identity.person_name, found.identity.faces) == (None, 2)
    assert found.seen.face_xyxy == pytest.approx(last.xyxy)
    assert found.seen.captured_at == frame(paint(), 0.4).captured_at
    assert camera.recogniser.conclude((1,)) == ()
    assert camera.shelf.stored == []


async def test_somebody_who_leaves_after_one_face_is_nobody_to_speak_of(camera: Camera) -> None:
    await camera.names(1, middle(NOBODY))
    assert camera.recogniser.conclude((1,)) == ()


async def test_faces_compared_with_a_gallery_that_has_changed_since_conclude_nothing(
    camera: Camera,
) -> None:
    await camera.names(2, middle(4))
    camera.shelf.current = gallery([subject("Eve", axis(4))])
    assert camera.recogniser.conclude((1,)) == ()


async def test_it_stops_when_told_to_although_every_look_fails_in_that_moment(
    camera: Camera,
) -> None:
    camera.detector.held = asyncio.Event()
    left, right = person(1, 0, 0, 200, 480), person(2, 400, 0, 640, 480)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(camera.step(persons=(left, right)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(camera.detector.regions) == 2
        camera.detector.failure = InferenceStale("late")
        camera.detector.held.set()
        await asyncio.sleep(0)
        looking.cancel()
    assert looking.cancelled()


async def test_a_new_gallery_is_used_from_the_next_frame_on(camera: Camera) -> None:
    assert await camera.names(9, middle(4)) == [None]
    camera.shelf.current = gallery([subject("Eve", axis(4))])
    assert await camera.names(2, middle(4)) == ["Eve"]


async def test_a_person_removed_from_the_gallery_becomes_a_stranger(camera: Camera) -> None:
    assert await camera.names(3, middle(ADA)) == ["Ada"]
    camera.shelf.current = gallery([subject("Ben", axis(1))])
    assert await camera.names(9, middle(ADA)) == [None]


async def test_the_face_that_decided_is_remembered_under_the_persons_id(camera: Camera) -> None:
    await camera.names(5, middle(ADA))
    ((face_id, embedding),) = camera.shelf.stored
    assert face_id == "ada"
    assert embedding == pytest.approx(axis(0))


OTHER = ModelVersion("face_embedder", "2", "f" * 64)


def of_another_embedder(camera: Camera) -> Gallery:
    """The same people, enrolled anew under OTHER."""
    people = [
        replace(person, model_sha256=OTHER.sha256) for person in camera.shelf.current.subjects
    ]
    return Gallery(OTHER, camera.shelf.current.dimension, people)


async def test_a_face_of_another_embedder_is_not_compared_with_the_gallery(camera: Camera) -> None:
    camera.embedder.model = OTHER
    with pytest.raises(InferenceOutdated, match="gallery of the new one is not loaded yet"):
        await camera.step(middle(ADA))
    assert camera.recogniser.identity(1) is None
    assert camera.shelf.stored == []


async def test_one_decision_never_counts_faces_of_two_embedders(camera: Camera) -> None:
    assert await camera.names(1, middle(ADA)) == []
    camera.embedder.model, camera.shelf.current = OTHER, of_another_embedder(camera)
    assert await camera.names(1, middle(ADA)) == []
    assert await camera.names(1, middle(ADA)) == ["Ada"]


async def test_who_was_named_under_the_old_embedder_is_decided_anew(camera: Camera) -> None:
    await camera.names(2, middle(ADA))
    camera.embedder.model, camera.shelf.current = OTHER, of_another_embedder(camera)
    await camera.step()
    assert camera.recogniser.identity(1) is None
    (found,) = [one for _ in range(3) for one in await camera.step(middle(ADA))]
    assert found.identity.person_name == "Ada"
    assert OTHER in found.seen.models
    assert camera.recogniser.identity(1) is not None


async def test_a_stranger_keeps_the_id_of_the_track_when_the_embedder_is_swapped(
    camera: Camera,
) -> None:
    await camera.names(12, middle(NOBODY))
    before = camera.recogniser.identity(1)
    camera.embedder.model, camera.shelf.current = OTHER, of_another_embedder(camera)
    await camera.names(12, middle(NOBODY))
    after = camera.recogniser.identity(1)
    assert before is not None
    assert after is not None
    assert after.face_id == before.face_id


async def test_the_threshold_is_the_one_of_the_embedder_in_use(camera: Camera) -> None:
    camera.embedder.match_threshold = 0.7
    camera.embedder.model, camera.shelf.current = OTHER, of_another_embedder(camera)
    (found,) = [one for _ in range(3) for one in await camera.step(middle(ADA))]
    assert found.identity.threshold == 0.7

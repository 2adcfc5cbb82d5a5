"""Enrolment: which pictures are taken, why the others are not, and who could be taken for whom."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from orchestrator.errors import EnrolmentRefused, InferenceStale, InferenceUnavailable
from orchestrator.face import FaceQuality
from orchestrator.picture import ArrayPicture
from orchestrator.recognition.enrolled import EnrolledFace
from orchestrator.recognition.enrolment import Accepted, Examiner, Sample
from orchestrator.settings import FacesSettings
from tests.recognition.footage import BEGIN, frames
from tests.recognition.networks import THRESHOLD, LocalFaceDetector, LocalFaceEmbedder
from tests.recognition.scripted import PaintedFace, ScriptedDetector, ScriptedEmbedder, paint
from tests.recognition.vectors import axis, gallery, like, subject


class Desk:
    """An examiner that never waits in real time, and a picture that it is shown."""

    def __init__(self) -> None:
        self.detector = ScriptedDetector()
        self.embedder = ScriptedEmbedder()
        self.now_s = 0.0
        self.examiner = Examiner(
            self.detector,
            self.embedder,
            FacesSettings(),
            threshold=THRESHOLD,
            clock=lambda: self.now_s,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def show(self, *faces: PaintedFace) -> Accepted:
        self.detector.faces = list(faces)
        return await self.examiner.still(Sample("ada.jpg", paint(*faces)))

    async def refusal(self, *faces: PaintedFace) -> str:
        with pytest.raises(EnrolmentRefused) as caught:
            await self.show(*faces)
        return str(caught.value).removeprefix("ada.jpg: ")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def accepted(label: str, embedding: np.ndarray, score: float = 0.5) -> Accepted:
    return Accepted(label, embedding, FaceQuality(40.0, 90.0, 0.0, 0.0, 0.9, score))


async def test_a_good_picture_gives_one_face(desk: Desk) -> None:
    face = await desk.show(PaintedFace(2, 200, 100))
    assert face.embedding == pytest.approx(axis(2))
    assert 0.0 < face.quality.score < 1.0


async def test_a_picture_without_a_face_is_refused(desk: Desk) -> None:
    assert await desk.refusal() == "there is no face in it"


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_a_picture_of_several_people_is_refused_with_their_number(
    desk: Desk, count: int
) -> None:
    faces = [PaintedFace(i, 10 + 150 * i, 100) for i in range(count)]
    assert await desk.refusal(*faces) == f"shows {count} people; give a picture of one"


async def test_a_small_face_in_the_background_is_nobody(desk: Desk) -> None:
    face = await desk.show(PaintedFace(1, 500, 20, scale=0.3), PaintedFace(2, 100, 100, scale=2.0))
    assert face.embedding == pytest.approx(axis(2))


@pytest.mark.parametrize(
    ("face", "reason"),
    [
        (PaintedFace(1, 200, 200, scale=0.5), "the face is too small: 18 px between the eyes"),
        (PaintedFace(1, -40, 100), "part of the face is outside the picture"),
    ],
)
async def test_a_face_that_is_not_fit_is_refused_with_its_reason(
    desk: Desk, face: PaintedFace, reason: str
) -> None:
    assert (await desk.refusal(face)).startswith(reason)


async def test_a_face_turned_away_is_refused(desk: Desk) -> None:
    face = PaintedFace(1, 200, 100)
    face.landmarks[2, 0] += 22
    assert (await desk.refusal(face)).startswith("the face is turned away")


async def test_a_blurred_face_is_refused_with_the_figures(desk: Desk) -> None:
    face = PaintedFace(1, 200, 100)
    desk.detector.faces = [face]
    soft = Image.fromarray(paint(face).rgb(640, 480)).filter(ImageFilter.GaussianBlur(5))
    with pytest.raises(EnrolmentRefused, match=r"blurred: sharpness \d+, at least 20 needed"):
        await desk.examiner.still(Sample("ada.jpg", ArrayPicture(np.asarray(soft))))


async def test_a_busy_server_is_asked_again(desk: Desk) -> None:
    desk.detector.failure = InferenceStale("queue full")

    async def recover(seconds: float) -> None:
        desk.now_s += seconds
        if desk.now_s > 1.0:
            desk.detector.failure = None

    desk.examiner = Examiner(
        desk.detector,
        desk.embedder,
        FacesSettings(),
        threshold=THRESHOLD,
        clock=lambda: desk.now_s,
        sleep=recover,
    )
    assert (await desk.show(PaintedFace(1, 200, 100))).label == "ada.jpg"


async def test_a_server_that_stays_away_is_given_up_in_the_end(desk: Desk) -> None:
    desk.detector.failure = InferenceUnavailable("down")
    with pytest.raises(InferenceUnavailable):
        await desk.show(PaintedFace(1, 200, 100))
    assert 29.0 < desk.now_s < 31.0


async def test_a_video_gives_its_best_faces_that_differ_and_one_refusal_a_reason(
    desk: Desk,
) -> None:
    async def film() -> AsyncIterator[Sample]:
        for number, who in enumerate([1, 1, 2, None, None, 3]):
            faces = [] if who is None else [PaintedFace(who, 200, 100)]
            desk.detector.faces = faces
            yield Sample(f"frame {number}", paint(*faces))

    examined = await desk.examiner.video(film())
    assert len(examined.accepted) == 3
    assert [(r.label, r.reason) for r in examined.refused] == [
        ("frame 3", "there is no face in it (and in 1 more frames)")
    ]


def test_pictures_of_different_people_are_not_enrolled_together(desk: Desk) -> None:
    given = [accepted("1", axis(0)), accepted("2", like(0, 0.9)), accepted("3", axis(2))]
    agreed = desk.examiner.agree(given)
    assert [face.label for face in agreed.accepted] == ["1", "2"]
    ((label, reason),) = [(r.label, r.reason) for r in agreed.refused]
    assert label == "3"
    assert reason.startswith("does not look like the same person as the others")


def test_a_picture_must_look_like_the_person_who_is_enrolled(desk: Desk) -> None:
    known = [EnrolledFace(axis(0), 0.5, BEGIN)]
    agreed = desk.examiner.agree([accepted("1", axis(1)), accepted("2", axis(1))], known)
    assert agreed.accepted == ()
    assert len(agreed.refused) == 2


def test_the_same_picture_twice_is_enrolled_once(desk: Desk) -> None:
    agreed = desk.examiner.agree([accepted("1", axis(0)), accepted("2", like(0, 0.999))])
    assert [face.label for face in agreed.accepted] == ["1"]
    assert agreed.refused[0].reason == "is the same as another picture given"


def test_a_picture_that_is_enrolled_already_is_refused(desk: Desk) -> None:
    known = [EnrolledFace(axis(0), 0.5, BEGIN)]
    agreed = desk.examiner.agree([accepted("1", like(0, 0.99))], known)
    assert "is enrolled" in agreed.refused[0].reason


def test_people_who_could_be_confused_are_named_the_most_alike_first(desk: Desk) -> None:
    others = gallery(
        [
            subject("Ben", like(0, 0.5)),
            subject("Cy", like(0, 0.7)),
            subject("Dan", axis(3)),
            subject("Ada", axis(0)),
        ]
    )
    found = desk.examiner.confusables([accepted("1", axis(0))], others, "ada")
    assert [(other.person_name, other.matches) for other in found] == [("Cy", True), ("Ben", False)]


@pytest.mark.xdist_group("clips")
@pytest.mark.parametrize("fit", ["small in a large picture", "filling the picture", "as filmed"])
async def test_a_real_face_is_found_however_it_is_framed(
    detector: LocalFaceDetector, embedder: LocalFaceEmbedder, clips: Path, fit: str
) -> None:
    examiner = Examiner(detector, embedder, FacesSettings(), threshold=THRESHOLD)
    shown = next(iter(frames(clips / "face_milk.mkv")))
    whole = shown.picture.region(0, 0, 640, 480)
    reference = await examiner.still(Sample("as filmed", shown.picture))
    if fit == "small in a large picture":
        wide = np.full((2400, 3200, 3), 120, np.uint8)
        wide[900:1380, 1300:1940] = whole
        whole = wide
    elif fit == "filling the picture":
        found = await detector.detect(shown.picture, (0, 0, 640, 480), deadline_s=0.0)
        x1, y1, x2, y2 = found.xyxy[0].astype(int)
        whole = whole[max(y1 - 25, 0) : y2 + 15, max(x1 - 25, 0) : x2 + 25]
    face = await examiner.still(Sample(fit, ArrayPicture(np.ascontiguousarray(whole))))
    assert float(face.embedding @ reference.embedding) > 0.8

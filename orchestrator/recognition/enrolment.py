"""Which faces of the given pictures are fit to be enrolled, and whom they could be taken for."""

import asyncio
import math
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import EnrolmentRefused, InferenceStale, InferenceUnavailable
from orchestrator.face import FaceQuality, Faces
from orchestrator.picture import Picture
from orchestrator.ports import FaceDetector, FaceEmbedder
from orchestrator.recognition.alignment import align
from orchestrator.recognition.enrolled import EnrolledFace
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.portrait import find_faces, look_closer
from orchestrator.recognition.quality import (
    Refusal,
    measure,
    refuse_by_geometry,
    refuse_by_pixels,
)
from orchestrator.recognition.regions import Region
from orchestrator.settings import FacesSettings

PATIENCE_S = 30.0
RETRY_S = 0.2
# A second face at least this share of the first one's size is a second person, not a bystander or a poster.
SECOND_PERSON = 0.4
# Two faces this alike are the same picture, or neighbouring frames: the second teaches nothing.
DUPLICATE = 0.98
# Others this much below the match threshold are still worth a warning.
CONFUSABLE_BELOW = 0.1
FACES_A_VIDEO = 5

T = TypeVar("T")

REASONS = {
    Refusal.LOW_CONFIDENCE: "what was found is hardly a face",
    Refusal.TOO_SMALL: "the face is too small: {size:.0f} px between the eyes, at least {min_size:.0f} needed",
    Refusal.TURNED: "the face is turned away: look into the camera",
    Refusal.CUT_OFF: "part of the face is outside the picture",
    Refusal.BLURRED: "the face is blurred: sharpness {sharpness:.0f}, at least {min_sharpness:.0f} needed",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture given for enrolment. `label` tells people which one: a file's name, a moment of a video."""

    label: str
    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """embedding is float32 (d,), a unit vector."""

    label: str
    embedding: NDArray[np.float32]
    quality: FaceQuality

    def enrolled(self, at: datetime) -> EnrolledFace:
        return EnrolledFace(self.embedding, self.quality.score, at)


@dataclass(frozen=True, slots=True)
class Refused:
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Examination:
    """The verdict on every picture given, and for a video on every frame that was looked at."""

    accepted: tuple[Accepted, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class Confusable:
    """Somebody else who is enrolled. `matches`: so alike that one would be named as the other."""

    face_id: str
    person_name: str
    similarity: float
    matches: bool


class Examiner:
    """Looks at pictures before they become part of the gallery."""

    def __init__(
        self,
        detector: FaceDetector,
        embedder: FaceEmbedder,
        settings: FacesSettings,
        *,
        threshold: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._detector = detector
        self._embedder = embedder
        self._settings = settings
        self._threshold = threshold
        self._clock = clock
        self._sleep = sleep

    async def still(self, sample: Sample) -> Accepted:
        """The one face of a picture. Raises EnrolmentRefused with the reason, and InferenceError."""
        faces = await find_faces(sample.picture, self._detect)
        people = _people(faces)
        if people == 0:
            raise EnrolmentRefused(f"{sample.label}: there is no face in it")
        if people > 1:
            raise EnrolmentRefused(f"{sample.label}: shows {people} people; give a picture of one")
        return await self._accept(sample, faces)

    async def video(self, samples: AsyncIterable[Sample]) -> Examination:
        """The best few faces of a video, unlike each other; one refusal a kind of reason. Raises InferenceError."""
        accepted: list[Accepted] = []
        reasons: dict[str, list[Refused]] = {}
        async for sample in samples:
            try:
                accepted.append(await self.still(sample))
            except EnrolmentRefused as error:
                reason = str(error).removeprefix(f"{sample.label}: ")
                kind = reason.partition(":")[0]
                reasons.setdefault(kind, []).append(Refused(sample.label, reason))
        refused = [
            Refused(same[0].label, same[0].reason)
            if len(same) == 1
            else Refused(same[0].label, f"{same[0].reason} (and in {len(same) - 1} more frames)")
            for same in reasons.values()
        ]
        accepted.sort(key=lambda face: -face.quality.score)
        kept: list[Accepted] = []
        for face in accepted:
            if len(kept) < FACES_A_VIDEO and _nearest(face.embedding, kept) < DUPLICATE:
                kept.append(face)
        return Examination(tuple(kept), tuple(refused))

    def agree(
        self, faces: Sequence[Accepted], enrolled: Sequence[EnrolledFace] = ()
    ) -> Examination:
        """Keep the faces that show one person, once each: `enrolled` says who, else the most typical face does."""
        known = [face.embedding for face in enrolled]
        anchors = known or _most_typical(faces)
        kept: list[Accepted] = []
        refused: list[Refused] = []
        for face in faces:
            likeness = max((float(face.embedding @ anchor) for anchor in anchors), default=1.0)
            if max((float(face.embedding @ other) for other in known), default=-1.0) >= DUPLICATE:
                refused.append(
                    Refused(face.label, "this picture, or one just like it, is enrolled")
                )
            elif likeness < self._threshold:
                reason = (
                    f"does not look like the same person as the others: similarity {likeness:.2f}"
                )
                refused.append(Refused(face.label, f"{reason}, at least {self._threshold:.2f}"))
            elif _nearest(face.embedding, kept) >= DUPLICATE:
                refused.append(Refused(face.label, "is the same as another picture given"))
            else:
                kept.append(face)
        return Examination(tuple(kept), tuple(refused))

    def confusables(
        self, faces: Sequence[Accepted], gallery: Gallery, face_id: str | None
    ) -> tuple[Confusable, ...]:
        """Other people whom these faces resemble, most alike first; `face_id` is the person's own, if enrolled."""
        nearest: dict[str, tuple[float, str]] = {}
        for face in faces:
            for found in gallery.match(face.embedding):
                held = nearest.get(found.face_id, (-math.inf, ""))
                nearest[found.face_id] = max(held, (found.similarity, found.person_name))
        limit = self._threshold - CONFUSABLE_BELOW
        found_people = [
            Confusable(other, name, similarity, similarity >= self._threshold)
            for other, (similarity, name) in nearest.items()
            if other != face_id and similarity >= limit
        ]
        return tuple(sorted(found_people, key=lambda person: -person.similarity))

    async def _detect(self, picture: Picture, region: Region) -> Faces:
        async def detect(deadline_s: float) -> Faces:
            return await self._detector.detect(picture, region, deadline_s=deadline_s)

        return await self._patiently(detect)

    async def _patiently(self, ask: Callable[[float], Awaitable[T]]) -> T:
        """Ask again while the server is busy: enrolment has time, unlike a camera. Raises InferenceError."""
        deadline_s = self._clock() + PATIENCE_S
        while True:
            try:
                return await ask(deadline_s)
            except (InferenceStale, InferenceUnavailable):
                if self._clock() >= deadline_s:
                    raise
                await self._sleep(RETRY_S)

    async def _accept(self, sample: Sample, faces: Faces) -> Accepted:
        """Raises EnrolmentRefused if the largest face is not good enough."""
        largest = faces[np.array([np.argmax(_sizes(faces))], np.intp)]
        nearer = await look_closer(sample.picture, largest, self._detect)
        landmarks, confidence = nearer.landmarks[0], float(nearer.confidence[0])
        refusal = refuse_by_geometry(sample.picture, landmarks, confidence, self._settings)
        if refusal in (Refusal.LOW_CONFIDENCE, Refusal.CUT_OFF):
            raise EnrolmentRefused(f"{sample.label}: {REASONS[refusal]}")
        crop = align(sample.picture, landmarks)
        quality = measure(crop, landmarks, confidence, self._settings)
        refusal = refusal or refuse_by_pixels(quality, self._settings)
        if refusal is not None:
            reason = REASONS[refusal].format(
                size=quality.size_px,
                min_size=self._settings.min_size,
                sharpness=quality.sharpness,
                min_sharpness=self._settings.min_sharpness,
            )
            raise EnrolmentRefused(f"{sample.label}: {reason}")

        async def embed(deadline_s: float) -> NDArray[np.float32]:
            return (await self._embedder.embed(crop[None], deadline_s=deadline_s)).vectors

        (embedding,) = await self._patiently(embed)
        return Accepted(sample.label, embedding, quality)


def _people(faces: Faces) -> int:
    if not len(faces):
        return 0
    sizes = _sizes(faces)
    return int(np.sum(sizes >= SECOND_PERSON * sizes.max()))


def _sizes(faces: Faces) -> NDArray[np.float32]:
    sizes: NDArray[np.float32] = faces.xyxy[:, 3] - faces.xyxy[:, 1]
    return sizes


def _nearest(embedding: NDArray[np.float32], faces: Sequence[Accepted]) -> float:
    return max((float(embedding @ face.embedding) for face in faces), default=-1.0)


def _most_typical(faces: Sequence[Accepted]) -> list[NDArray[np.float32]]:
    """The face most like all the others; the first of two."""
    if not faces:
        return []
    stacked = np.stack([face.embedding for face in faces])
    return [stacked[int(np.argmax((stacked @ stacked.T).sum(axis=1)))]]

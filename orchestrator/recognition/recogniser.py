"""Says who the people in a frame are: one instance a camera, one embedding a good look, one decision a track."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InferenceError, InferenceInvalid, InferenceOutdated
from orchestrator.face import Embeddings, FaceQuality, Faces
from orchestrator.frame import Frame
from orchestrator.identity import Candidate, Identity
from orchestrator.metrics import Metrics
from orchestrator.ports import FaceDetector, FaceEmbedder, ModelVersion, Recognition
from orchestrator.recognition.alignment import align
from orchestrator.recognition.decision import DecisionRules, TrackDecision, anonymous_id
from orchestrator.recognition.followed import PATIENT_LOOKS, Followed, sighting
from orchestrator.recognition.gallery import Gallery, GallerySource
from orchestrator.recognition.quality import (
    Refusal,
    measure,
    refuse_by_geometry,
    refuse_by_pixels,
)
from orchestrator.recognition.regions import Region, assign, head_region, merge
from orchestrator.settings import FacesSettings
from orchestrator.track import Track

# Tracks whose heads are searched in one frame, at most: what bounds the cost of a crowd.
MAX_LOOKS = 4


class FaceStore(Protocol):
    """Where recognised faces are remembered for other programs; `FaceCache` is one."""

    def put_face(
        self,
        identity: Identity,
        embedding: NDArray[np.float32],
        quality: FaceQuality,
        frame: Frame,
        track_id: int,
        model: ModelVersion,
    ) -> None:
        """Hand over; never blocks. `model` made the embedding."""
        ...


@dataclass(frozen=True, slots=True)
class _GoodFace:
    track: Track
    row: int
    crop: NDArray[np.uint8]
    quality: FaceQuality


class FaceRecogniser:
    """Implements the port `Recogniser`. All time is stream time, so that a replay decides the same."""

    def __init__(
        self,
        camera_id: str,
        detector: FaceDetector,
        embedder: FaceEmbedder,
        gallery: GallerySource,
        *,
        threshold: float,
        settings: FacesSettings,
        metrics: Metrics,
        store: FaceStore | None = None,
    ) -> None:
        self._camera_id = camera_id
        self._detector = detector
        self._embedder = embedder
        self._source = gallery
        self._settings = settings
        self._rules = DecisionRules(
            threshold, settings.match_margin, settings.agreement, settings.max_faces
        )
        self._metrics = metrics
        self._store = store
        self._followed: dict[int, Followed] = {}
        self._embedder_sha256 = gallery.current.model.sha256

    async def recognise(
        self, frame: Frame, persons: tuple[Track, ...], *, deadline_s: float
    ) -> tuple[Recognition, ...]:
        """Look for faces of tracks whose identity is open, or due to be checked. Raises InferenceError."""
        gallery = self._source.current
        self._heed(gallery.model.sha256)
        for track in persons:
            self._follow(track, gallery, frame.captured_at)
        due = self._choose(persons, frame.pts_s)
        embedded: set[int] = set()
        try:
            faces = await self._find(frame, due, deadline_s)
            good = self._select(frame, faces, persons, due)
            self._tally(due, good)
            if not good:
                return ()
            crops = np.stack([face.crop for face in good])
            embeddings = await self._embed(crops, gallery, deadline_s)
            embedded.update(face.track.track_id for face in good)
            found = await gallery.match_each(embeddings.vectors)
            return self._decide(frame, faces, good, embeddings, found, gallery)
        finally:
            self._count(persons, embedded)

    def identity(self, track_id: int) -> Identity | None:
        followed = self._followed.get(track_id)
        return followed.decision.identity if followed else None

    def conclude(self, track_ids: tuple[int, ...]) -> tuple[Recognition, ...]:
        """What the last good face of each shows. Not cached: nobody will ever ask for a stranger who is gone."""
        recognitions: list[Recognition] = []
        gallery = self._source.current
        for track_id in track_ids:
            followed = self._followed.pop(track_id, None)
            if followed is None or followed.seen is None:
                continue
            if followed.gallery_version != gallery.version:
                continue  # nobody compared these faces with the people who are enrolled now
            identity = followed.decision.conclude(gallery)
            if identity is not None:
                recognitions.append(Recognition(track_id, identity, followed.seen))
        return tuple(recognitions)

    def _heed(self, embedder_sha256: str) -> None:
        """Begin anew under another embedder: a track's faces of the old one say nothing beside the new one's."""
        if embedder_sha256 == self._embedder_sha256:
            return
        self._embedder_sha256 = embedder_sha256
        threshold = self._embedder.match_threshold
        if threshold is not None:
            self._rules = replace(self._rules, threshold=threshold)
        for followed in self._followed.values():
            followed.decision, followed.seen = TrackDecision(self._rules, followed.anonymous), None

    def _follow(self, track: Track, gallery: Gallery, captured_at: datetime) -> None:
        followed = self._followed.get(track.track_id)
        if followed is None:
            anonymous = anonymous_id(self._camera_id, track.track_id, captured_at)
            decision = TrackDecision(self._rules, anonymous)
            self._followed[track.track_id] = Followed(decision, anonymous, gallery.version)
        elif followed.gallery_version != gallery.version:
            followed.gallery_version = gallery.version
            followed.decision.gallery_changed(gallery)

    def _choose(self, persons: Sequence[Track], pts_s: float) -> tuple[Track, ...]:
        """Whom to look at in this frame: the undecided first, then doubt, then those nearest to the camera."""

        def promise(track: Track) -> tuple[bool, bool, int, float, int]:
            followed = self._followed[track.track_id]
            size = float(track.xyxy[2] - track.xyxy[0])
            return (
                followed.decision.identity is not None,
                not followed.decision.in_doubt,
                followed.fruitless // PATIENT_LOOKS,
                -size,
                track.track_id,
            )

        due = [track for track in persons if self._followed[track.track_id].is_due(pts_s)]
        chosen = tuple(sorted(due, key=promise)[:MAX_LOOKS])
        for track in chosen:
            self._followed[track.track_id].looked_s = pts_s
        return chosen

    async def _find(self, frame: Frame, due: Sequence[Track], deadline_s: float) -> Faces:
        """All faces in the heads' regions; the requests go out together, so that the server makes one batch.

        A failure is handed back, not raised: a task group that is cancelled in the moment in which a task of it
        fails raises the failure alone (Python below 3.13), and the camera would never hear that it is to stop.
        """
        picture = frame.picture
        regions = [head_region(track.xyxy, picture.width, picture.height) for track in due]
        regions = list(dict.fromkeys(r for r in regions if r[0] < r[2] and r[1] < r[3]))
        if len(regions) == 1:
            return await self._detector.detect(picture, regions[0], deadline_s=deadline_s)

        async def look(region: Region) -> Faces | InferenceError:
            try:
                return await self._detector.detect(picture, region, deadline_s=deadline_s)
            except InferenceError as failure:
                return failure

        async with asyncio.TaskGroup() as looks:
            tasks = [looks.create_task(look(region)) for region in regions]
        found: list[Faces] = []
        for task in tasks:
            answer = task.result()
            if isinstance(answer, InferenceError):
                raise answer  # the others say the same of the same server
            found.append(answer)
        return merge(found)

    def _select(
        self, frame: Frame, faces: Faces, persons: Sequence[Track], due: Sequence[Track]
    ) -> list[_GoodFace]:
        """The faces worth an embedding, aligned; the others are counted under their reason."""
        owners = assign(faces, persons)
        for _ in owners.ambiguous:
            self._refused(Refusal.AMBIGUOUS)
        good: list[_GoodFace] = []
        for track in due:
            row = owners.face_of.get(track.track_id)
            if row is None:
                continue
            landmarks, confidence = faces.landmarks[row], float(faces.confidence[row])
            refusal = refuse_by_geometry(frame.picture, landmarks, confidence, self._settings)
            if refusal is not None:
                self._refused(refusal)
                continue
            crop = align(frame.picture, landmarks)
            quality = measure(crop, landmarks, confidence, self._settings)
            refusal = refuse_by_pixels(quality, self._settings)
            if refusal is not None:
                self._refused(refusal)
                continue
            good.append(_GoodFace(track, row, crop, quality))
        return good

    def _tally(self, due: Sequence[Track], good: Sequence[_GoodFace]) -> None:
        """Remember whose looks bear no fruit."""
        shown = {face.track.track_id for face in good}
        for track in due:
            followed = self._followed.get(track.track_id)
            if followed is not None:
                followed.fruitless = 0 if track.track_id in shown else followed.fruitless + 1

    async def _embed(
        self, crops: NDArray[np.uint8], gallery: Gallery, deadline_s: float
    ) -> Embeddings:
        """Vectors that may be compared with the gallery's. Raises InferenceError."""
        found = await self._embedder.embed(crops, deadline_s=deadline_s)
        if found.model.sha256 != gallery.model.sha256:
            raise InferenceOutdated(
                f"model {found.model.name} was swapped; the gallery of the new one is not loaded yet"
            )
        expected = (len(crops), gallery.dimension)
        if found.vectors.shape != expected or not np.all(np.isfinite(found.vectors)):
            raise InferenceInvalid(
                f"model {found.model.name} gave embeddings of shape {found.vectors.shape}, "
                f"not {expected}, or numbers that are not finite"
            )
        return found

    def _decide(
        self,
        frame: Frame,
        faces: Faces,
        good: Sequence[_GoodFace],
        embeddings: Embeddings,
        found: Sequence[tuple[Candidate, ...]],
        gallery: Gallery,
    ) -> tuple[Recognition, ...]:
        recognitions: list[Recognition] = []
        models = (*faces.models, embeddings.model)
        for face, embedding, candidates in zip(good, embeddings.vectors, found, strict=True):
            followed = self._followed.get(face.track.track_id)
            if followed is None:
                continue  # the track ended while the server was working
            followed.seen = sighting(frame, faces.xyxy[face.row], models)
            identity = followed.decision.add(candidates, gallery, frame.pts_s)
            if identity is None:
                continue
            # The face that decided is one that claims the person, so it is safe to keep under the person's id.
            if self._store is not None:
                track_id, model = face.track.track_id, embeddings.model
                self._store.put_face(identity, embedding, face.quality, frame, track_id, model)
            recognitions.append(Recognition(face.track.track_id, identity, followed.seen))
        return tuple(recognitions)

    def _count(self, persons: Sequence[Track], embedded: set[int]) -> None:
        """A hit: the identity was there and cost no embedding. A miss: an embedding was computed."""
        for track in persons:
            if track.track_id in embedded:
                self._metrics.face_cache_misses.inc()
            elif self.identity(track.track_id) is not None:
                self._metrics.face_cache_hits.inc()

    def _refused(self, refusal: Refusal) -> None:
        self._metrics.faces_refused.labels(refusal).inc()

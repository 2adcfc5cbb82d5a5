"""The seams of the orchestrator. Read this file to learn what can be swapped."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eventbus.events import Event
from orchestrator.detection import Detections
from orchestrator.face import Embeddings, Faces, Sighting
from orchestrator.frame import Frame
from orchestrator.identity import Identity
from orchestrator.model_version import ModelVersion as ModelVersion
from orchestrator.picture import Picture
from orchestrator.track import Track, TrackUpdate


class ObjectDetector(Protocol):
    """inference/ implements it with Triton. The model may be swapped: the answer says whose it is."""

    async def detect(self, picture: Picture, *, deadline_s: float) -> Detections:
        """Find objects; corners in source pixels, above the score threshold, after NMS.

        deadline_s is a time.monotonic() value. Raises InferenceError.
        """
        ...


class FaceDetector(Protocol):
    async def detect(
        self, picture: Picture, region: tuple[int, int, int, int], *, deadline_s: float
    ) -> Faces:
        """Find faces inside a region (x1, y1, x2, y2), all in source pixels. Raises InferenceError."""
        ...


class FaceEmbedder(Protocol):
    @property
    def model(self) -> ModelVersion: ...

    @property
    def match_threshold(self) -> float | None:
        """Least similarity of a match under the model in use; None: the one that was set at the start."""
        ...

    async def embed(self, crops: NDArray[np.uint8], *, deadline_s: float) -> Embeddings:
        """Turn aligned RGB crops, uint8 (n, 112, 112, 3), into unit vectors. Raises InferenceError."""
        ...


class Tracker(Protocol):
    """One instance a camera. tracking/ implements it."""

    @property
    def live(self) -> bool:
        """Whether anything is followed at the moment, be it only just lost; the motion gate is told."""
        ...

    def update(self, detections: Detections, pts_s: float) -> TrackUpdate: ...

    def close(self) -> tuple[int, ...]:
        """End every live track, as when the camera is lost; returns their ids."""
        ...


@dataclass(frozen=True, slots=True)
class Recognition:
    """An identity that was decided, or that changed, and the face that it was decided by."""

    track_id: int
    identity: Identity
    seen: Sighting


class Recogniser(Protocol):
    """One instance a camera. recognition/ implements it."""

    async def recognise(
        self, frame: Frame, persons: tuple[Track, ...], *, deadline_s: float
    ) -> tuple[Recognition, ...]:
        """Look for faces of tracks whose identity is open. Raises InferenceError."""
        ...

    def identity(self, track_id: int) -> Identity | None: ...

    def conclude(self, track_ids: tuple[int, ...]) -> tuple[Recognition, ...]:
        """Decide those of the tracks that ended undecided, as far as they can be, and forget them all."""
        ...


class EventSink(Protocol):
    """Takes an event without waiting. eventbus/outbox.py implements it."""

    def put(self, event: Event) -> None:
        """Hand over; never blocks, never raises for a bus that is down."""
        ...


class DetectionCache(Protocol):
    """Keeps what was last seen where other programs can look it up. recognition/face_cache.py implements it."""

    def put_detections(self, frame: Frame, detections: Detections) -> None:
        """Hand over; never blocks."""
        ...

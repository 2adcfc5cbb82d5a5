"""The ports of inference over models that may be swapped: every answer says which version gave it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.detection import Detections
from orchestrator.errors import InferenceInvalid, SettingsError
from orchestrator.face import Embeddings, Faces
from orchestrator.inference.faces import OUTPUTS as FACE_OUTPUTS
from orchestrator.inference.faces import TritonFaceDetector, TritonFaceEmbedder
from orchestrator.inference.live import Live
from orchestrator.inference.object_detector import OUTPUTS as DETECTION_OUTPUTS
from orchestrator.inference.object_detector import (
    DetectionLimits,
    TritonObjectDetector,
    class_ids,
    labels_of,
)
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.picture import Picture
from orchestrator.settings import DetectorSettings

# Detections below the reporting threshold still continue a track (ByteTrack's second association).
CONTINUE_FROM = 0.25
# What alignment makes, and the gallery was embedded from.
CROP_PX = 112


class Detecting:
    """Makes the object detector of a version, with the classes that the settings want of it."""

    def __init__(self, client: TritonClient, settings: DetectorSettings) -> None:
        self._client = client
        self._settings = settings
        self._is_first = True

    def __call__(self, served: ServedModel) -> tuple[TritonObjectDetector, str | None]:
        """At the start a class that is not there is a mistake. After a swap the others go on, while there are any."""
        wanted, labels = self._settings.classes, labels_of(served)
        there = tuple(name for name in wanted if name in labels)
        lacking = [name for name in wanted if name not in labels]
        strict = self._is_first or not there
        limits = DetectionLimits(
            score=min(CONTINUE_FROM, self._settings.score_threshold),
            nms=self._settings.nms_threshold,
            classes=class_ids(served, wanted if strict else there),
        )
        require_outputs(served, DETECTION_OUTPUTS)
        self._is_first = False
        problem = (
            f"DETECTOR_CLASSES: version {served.version.version} has no {', '.join(lacking)}; "
            f"only {', '.join(there)} is looked for"
            if lacking
            else None
        )
        return TritonObjectDetector(self._client, served, limits), problem


class Finding:
    """Makes the face detector of a version."""

    def __init__(self, client: TritonClient, threshold: float) -> None:
        self._client = client
        self._threshold = threshold

    def __call__(self, served: ServedModel) -> tuple[TritonFaceDetector, str | None]:
        require_outputs(served, FACE_OUTPUTS)
        return TritonFaceDetector(self._client, served, self._threshold), None


class Embedding:
    """Makes the embedder of a version. `threshold` is the operator's; None: the one that the model recommends."""

    def __init__(self, client: TritonClient, threshold: float | None) -> None:
        self._client = client
        self._threshold = threshold

    def __call__(self, served: ServedModel) -> tuple["ThresholdedEmbedder", str | None]:
        embedder = TritonFaceEmbedder(self._client, served)
        if served.inputs[0].shape[1:3] != (CROP_PX, CROP_PX):
            raise InferenceInvalid(
                f"model {embedder.model.name} takes faces of {served.inputs[0].shape[1:3]} pixels, not {CROP_PX}"
            )
        threshold = embedder.match_threshold if self._threshold is None else self._threshold
        if threshold is None:
            raise SettingsError(
                f"model {embedder.model.name} recommends no match_threshold; set FACES_MATCH_THRESHOLD"
            )
        return ThresholdedEmbedder(embedder, threshold), None


@dataclass(frozen=True, slots=True)
class ThresholdedEmbedder:
    """match_threshold: least cosine similarity of a match under this version."""

    adapter: TritonFaceEmbedder
    match_threshold: float


class LiveObjectDetector:
    def __init__(self, live: Live[TritonObjectDetector]) -> None:
        self.live = live

    @property
    def model(self) -> DetectionModel:
        """What would answer now; each answer says what did."""
        return _model_of(self.live.adapter)

    async def detect(self, picture: Picture, *, deadline_s: float) -> Detections:
        async def question(adapter: TritonObjectDetector) -> Detections:
            found = await adapter.detect(picture, deadline_s=deadline_s)
            return replace(found, model=_model_of(adapter))

        return await self.live.ask(question, deadline_s=deadline_s)


class LiveFaceDetector:
    def __init__(self, live: Live[TritonFaceDetector]) -> None:
        self.live = live

    @property
    def model(self) -> ModelVersion:
        return self.live.adapter.model

    async def detect(
        self, picture: Picture, region: tuple[int, int, int, int], *, deadline_s: float
    ) -> Faces:
        async def question(adapter: TritonFaceDetector) -> Faces:
            found = await adapter.detect(picture, region, deadline_s=deadline_s)
            return replace(found, models=(adapter.model,))

        return await self.live.ask(question, deadline_s=deadline_s)


class LiveFaceEmbedder:
    def __init__(self, live: Live[ThresholdedEmbedder]) -> None:
        self.live = live

    @property
    def model(self) -> ModelVersion:
        return self.live.adapter.adapter.model

    @property
    def dimension(self) -> int:
        return self.live.adapter.adapter.dimension

    def on_change(self, use: Callable[[ModelVersion, int], None]) -> None:
        """`use` is told the version and the dimension of its vectors whenever another is served."""
        self.live.on_change(lambda e: use(e.adapter.model, e.adapter.dimension))

    @property
    def match_threshold(self) -> float:
        return self.live.adapter.match_threshold

    async def embed(self, crops: NDArray[np.uint8], *, deadline_s: float) -> Embeddings:
        async def question(embedder: ThresholdedEmbedder) -> Embeddings:
            vectors = await embedder.adapter.embed(crops, deadline_s=deadline_s)
            return Embeddings(vectors, embedder.adapter.model)

        return await self.live.ask(question, deadline_s=deadline_s)


def require_outputs(served: ServedModel, names: tuple[str, ...]) -> None:
    """Raises InferenceInvalid for a model that answers something else altogether."""
    for name in names:
        served.output(name)


def _model_of(adapter: TritonObjectDetector) -> DetectionModel:
    return DetectionModel(adapter.model, adapter.labels)

"""Finds objects in a whole frame: served by Triton, thresholds applied to the finished rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.detection import Detections
from orchestrator.errors import InferenceInvalid, SettingsError
from orchestrator.inference.letterbox import Placement
from orchestrator.inference.pixels import pixels_for
from orchestrator.inference.suppression import suppress
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.picture import Picture
from orchestrator.ports import ModelVersion

OUTPUTS = ("count", "boxes", "scores", "labels")


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """What the operator asked for. `classes` are label numbers; empty means all."""

    score: float
    nms: float
    classes: tuple[int, ...]


class TritonObjectDetector:
    def __init__(self, client: TritonClient, model: ServedModel, limits: DetectionLimits) -> None:
        self._client = client
        self._served = model
        self._limits = limits
        self._pixels = pixels_for(model)

    @property
    def model(self) -> ModelVersion:
        return self._served.version

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self._served)

    async def detect(self, picture: Picture, *, deadline_s: float) -> Detections:
        """Corners in source pixels, best first, after score threshold and NMS. Raises InferenceError."""
        tensors, place = self._pixels(picture)
        count, boxes, scores, labels = await self._client.infer(
            self._served, tensors, OUTPUTS, deadline_s=deadline_s
        )
        rows = row_count(self._served, count[0, 0], boxes.shape[1])
        return self._chosen(place, boxes[0, :rows], scores[0, :rows], labels[0, :rows])

    def _chosen(
        self,
        place: Placement,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        labels: NDArray[np.int32],
    ) -> Detections:
        wanted = scores >= self._limits.score
        if self._limits.classes:
            wanted &= np.isin(labels, self._limits.classes)
        xyxy = place.to_source(boxes[wanted].reshape(-1, 2, 2)).reshape(-1, 4)
        confidence = np.clip(scores[wanted], 0, 1)
        keep = suppress(xyxy, confidence, labels[wanted], self._limits.nms)
        return Detections(xyxy[keep], confidence[keep], labels[wanted][keep])


def row_count(model: ServedModel, count: int, capacity: int) -> int:
    """How many rows of a fixed-size output are real. Raises InferenceInvalid."""
    if not 0 <= count <= capacity:
        raise InferenceInvalid(
            f"model {model.version.name} claims {count} rows of at most {capacity}"
        )
    return int(count)


def labels_of(model: ServedModel) -> tuple[str, ...]:
    return tuple(label for label in model.parameters.get("labels", "").split(",") if label)


def class_ids(model: ServedModel, classes: tuple[str, ...]) -> tuple[int, ...]:
    """Label numbers of the wanted classes. Raises SettingsError, which names the labels there are."""
    labels = labels_of(model)
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise SettingsError(
            f"DETECTOR_CLASSES: {', '.join(unknown)} is not a label of {model.version.name};"
            f" it knows {', '.join(labels)}"
        )
    return tuple(labels.index(name) for name in classes)

"""Finds faces in a part of a frame, and turns aligned faces into unit vectors, both served by Triton."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InferenceInvalid
from orchestrator.face import Faces
from orchestrator.inference.letterbox import letterbox_region
from orchestrator.inference.object_detector import row_count
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.picture import Picture
from orchestrator.ports import ModelVersion

OUTPUTS = ("count", "boxes", "scores", "landmarks")
# Requests are split at the model's max_batch_size, which the configuration keeps at 8 or more.
BATCH = 8


class TritonFaceDetector:
    def __init__(self, client: TritonClient, model: ServedModel, score_threshold: float) -> None:
        self._client = client
        self._served = model
        self._score_threshold = score_threshold
        self._size = model.inputs[0].shape[1]

    @property
    def model(self) -> ModelVersion:
        return self._served.version

    async def detect(
        self, picture: Picture, region: tuple[int, int, int, int], *, deadline_s: float
    ) -> Faces:
        """Faces inside (x1, y1, x2, y2), best first, all in source pixels. Raises InferenceError."""
        clipped = (
            max(region[0], 0),
            max(region[1], 0),
            min(region[2], picture.width),
            min(region[3], picture.height),
        )
        if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            return Faces.empty()
        boxed = letterbox_region(picture, clipped, self._size)
        count, boxes, scores, landmarks = await self._client.infer(
            self._served, boxed.image[None], OUTPUTS, deadline_s=deadline_s
        )
        rows = row_count(self._served, count[0, 0], boxes.shape[1])
        keep = np.flatnonzero(scores[0, :rows] >= self._score_threshold)
        return Faces(
            boxed.to_source(boxes[0, keep].reshape(-1, 2, 2)).reshape(-1, 4),
            boxed.to_source(landmarks[0, keep]),
            np.clip(scores[0, keep], 0, 1),
        )


class TritonFaceEmbedder:
    def __init__(self, client: TritonClient, model: ServedModel) -> None:
        self._client = client
        self._served = model
        self._dimension = model.output("embedding").shape[-1]

    @property
    def model(self) -> ModelVersion:
        return self._served.version

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def match_threshold(self) -> float | None:
        """Least cosine similarity of a match that this model's configuration recommends."""
        value = self._served.parameters.get("match_threshold")
        return float(value) if value else None

    async def embed(self, crops: NDArray[np.uint8], *, deadline_s: float) -> NDArray[np.float32]:
        """Aligned RGB crops, uint8 (n, 112, 112, 3), to unit vectors, float32 (n, dimension).

        Raises InferenceError; InferenceInvalid if a vector is not of length 1.
        """
        parts = [
            (
                await self._client.infer(
                    self._served,
                    crops[start : start + BATCH],
                    ("embedding",),
                    deadline_s=deadline_s,
                )
            )[0]
            for start in range(0, len(crops), BATCH)
        ]
        if not parts:
            return np.empty((0, self._dimension), np.float32)
        embeddings: NDArray[np.float32] = np.concatenate(parts)
        if np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() > 1e-2:
            raise InferenceInvalid(
                f"model {self.model.name} gave a vector that is not of length 1; run `fess models prepare`"
            )
        return embeddings

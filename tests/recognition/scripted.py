"""A face detector and an embedder that know what they will see: a face is painted as a coloured square.

The colour's red says which axis the face's vector lies along, so that the whole path from pixels to name is exercised
without a network.
"""

import asyncio

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InferenceError
from orchestrator.face import Embeddings, Faces
from orchestrator.picture import ArrayPicture, Picture
from orchestrator.ports import ModelVersion
from orchestrator.recognition.alignment import TEMPLATE
from tests.recognition.vectors import MODEL, axis

Region = tuple[int, int, int, int]


class PaintedFace:
    """`who` is the axis; `x`, `y` its upper left corner; 112 px of crop to `scale`."""

    def __init__(self, who: int, x: float, y: float, scale: float = 1.0) -> None:
        self.who = who
        self.landmarks = TEMPLATE * scale + np.array([x, y])
        self.xyxy = (x + 16 * scale, y + 10 * scale, x + 96 * scale, y + 110 * scale)
        self.left, self.top, self.size = round(x), round(y), round(112 * scale)


def paint(*faces: PaintedFace, width: int = 640, height: int = 480) -> ArrayPicture:
    canvas = np.zeros((height, width, 3), np.uint8)
    texture = np.random.default_rng(5)
    for face in faces:
        rows = slice(max(face.top, 0), face.top + face.size)
        columns = slice(max(face.left, 0), face.left + face.size)
        patch = canvas[rows, columns]
        patch[..., 0] = 10 + 20 * face.who
        patch[..., 1] = texture.integers(0, 256, patch.shape[:2])
    return ArrayPicture(canvas)


class ScriptedDetector:
    model = ModelVersion("face_detector", "1", "d" * 64)

    def __init__(self) -> None:
        self.faces: list[PaintedFace] = []
        self.confidence = 0.9
        self.regions: list[Region] = []
        self.failure: InferenceError | None = None
        self.held: asyncio.Event | None = None  # until it is set no answer comes

    async def detect(self, picture: Picture, region: Region, *, deadline_s: float) -> Faces:
        self.regions.append(region)
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure
        x1, y1, x2, y2 = region
        shown = [
            face
            for face in self.faces
            if x1 <= (face.xyxy[0] + face.xyxy[2]) / 2 < x2
            and y1 <= (face.xyxy[1] + face.xyxy[3]) / 2 < y2
        ]
        n = len(shown)
        return Faces(
            np.array([face.xyxy for face in shown], np.float32).reshape(n, 4),
            np.array([face.landmarks for face in shown], np.float32).reshape(n, 5, 2),
            np.full(n, self.confidence, np.float32),
        )


class ScriptedEmbedder:
    def __init__(self) -> None:
        self.model = MODEL
        self.match_threshold: float | None = None
        self.batches: list[int] = []
        self.answer: NDArray[np.float32] | None = None
        self.failure: InferenceError | None = None

    async def embed(self, crops: NDArray[np.uint8], *, deadline_s: float) -> Embeddings:
        self.batches.append(len(crops))
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return Embeddings(self.answer, self.model)
        middle = crops[:, 40:72, 40:72, 0].mean(axis=(1, 2))
        vectors = np.stack([axis(round((float(red) - 10.0) / 20.0)) for red in middle])
        return Embeddings(vectors, self.model)

"""The prepared face models, run in process by ONNX Runtime: what Triton serves, without the server."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orchestrator.face import Embeddings, Faces
from orchestrator.inference.letterbox import letterbox_region
from orchestrator.picture import Picture
from orchestrator.ports import ModelVersion

THRESHOLD = 0.55  # model_repository/face_embedder/config.pbtxt


class LocalFaceDetector:
    model = ModelVersion("face_detector", "1", "d" * 64)

    def __init__(self, repository: Path) -> None:
        self._session = session(repository / "face_detector" / "1" / "model.onnx")
        self.looks = 0

    async def detect(
        self, picture: Picture, region: tuple[int, int, int, int], *, deadline_s: float
    ) -> Faces:
        self.looks += 1
        boxed = letterbox_region(picture, region, 320)
        count, boxes, scores, landmarks = self._session.run(
            ["count", "boxes", "scores", "landmarks"], {"images": boxed.image[None]}
        )
        rows = np.flatnonzero(scores[0, : int(count[0, 0])] >= 0.7)
        return Faces(
            boxed.to_source(boxes[0, rows].reshape(-1, 2, 2)).reshape(-1, 4),
            boxed.to_source(landmarks[0, rows]),
            scores[0, rows],
        )


class LocalFaceEmbedder:
    model = ModelVersion("face_embedder", "1", "e" * 64)
    match_threshold = None

    def __init__(self, repository: Path) -> None:
        self._session = session(repository / "face_embedder" / "1" / "model.onnx")
        self.batches: list[int] = []

    async def embed(self, crops: NDArray[np.uint8], *, deadline_s: float) -> Embeddings:
        self.batches.append(len(crops))
        embeddings: NDArray[np.float32] = self._session.run(["embedding"], {"crops": crops})[0]
        return Embeddings(embeddings, self.model)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

"""Faces found in a picture, and how fit each is to be recognised."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orchestrator.model_version import ModelVersion


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Columns of equal length; row i of each is face i, best first.

    xyxy        float32 (n, 4)     corners in pixels of the source frame, origin top left
    landmarks   float32 (n, 5, 2)  the person's right eye, left eye, nose tip, right and left mouth corner
    confidence  float32 (n,)       0..1
    models      that found them: one, or two where the model was swapped between two parts of a frame
    """

    xyxy: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    confidence: NDArray[np.float32]
    models: tuple[ModelVersion, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        expected = {"xyxy": (n, 4), "landmarks": (n, 5, 2), "confidence": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> "Faces":
        return Faces(self.xyxy[keep], self.landmarks[keep], self.confidence[keep], self.models)

    @classmethod
    def empty(cls) -> "Faces":
        return cls(
            np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """Where and when a face was seen: what an event says of a frame whose picture may be long gone.

    face_xyxy  float32 (4,) the face's corners in pixels of that frame
    models     that found and embedded it
    """

    frame_number: int
    captured_at: datetime
    width: int
    height: int
    face_xyxy: NDArray[np.float32]
    models: tuple[ModelVersion, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Faces as unit vectors, float32 (n, d), and the model under which alone they can be compared."""

    vectors: NDArray[np.float32]
    model: ModelVersion


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Measured on the source pixels; `recognition/quality.py` says how and with which limits.

    size_px     distance between the eyes, in source pixels
    sharpness   variance of the Laplacian of the aligned crop's luma
    yaw_deg     estimated from the landmarks, 0 is frontal
    pitch_deg   the same
    confidence  the detector's, 0..1
    score       0..1, one number to rank by
    """

    size_px: float
    sharpness: float
    yaw_deg: float
    pitch_deg: float
    confidence: float
    score: float

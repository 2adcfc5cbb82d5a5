"""Made-up faces: unit vectors at a chosen cosine to each other, and galleries of them."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.ports import ModelVersion
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.subject import Subject

MODEL = ModelVersion("face_embedder", "1", "e" * 64)
DIMENSION = 8


def axis(number: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    vector = np.zeros(dimension, np.float32)
    vector[number] = 1.0
    return vector


def like(number: int, cosine: float, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """A unit vector at this cosine to one axis, the rest along the last axis, where nobody is."""
    vector = axis(number, dimension) * np.float32(cosine)
    vector[-1] = math.sqrt(1.0 - cosine * cosine)
    return vector


def unit(values: NDArray[np.floating]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(
        np.float32
    )
    return scaled


def subject(
    name: str,
    *embeddings: NDArray[np.float32],
    authorized: bool = True,
    model: ModelVersion = MODEL,
) -> Subject:
    return Subject(name.lower(), name, authorized, np.stack(embeddings), model.sha256)


def gallery(subjects: Sequence[Subject], dimension: int = DIMENSION) -> Gallery:
    return Gallery(MODEL, dimension, subjects)


def three_people() -> Gallery:
    """Ada, Ben and Cy on the first three axes."""
    return gallery([subject(name, axis(i)) for i, name in enumerate(("Ada", "Ben", "Cy"))])

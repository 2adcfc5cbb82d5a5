"""Made-up embeddings in numbers: as unlike each other as can be, or alike as faces are."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.recognition.subject import Subject
from tests.recognition.vectors import MODEL, unit

# What a real embedder gives does not fill all directions evenly: the k-th principal direction gets about 1/k of the
# variance.
PER_PERSON = 5
ALIKE = 0.85  # a picture and its person's mean: two pictures of one person are 0.72 alike


def scattered(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Directions evenly spread: in 512 dimensions all are about equally unlike, which no index can use."""
    return unit(rng.standard_normal((count, dimension), dtype=np.float32))


def faces(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """One person a row."""
    weights = np.arange(1, dimension + 1, dtype=np.float32) ** -0.5
    return unit(rng.standard_normal((count, dimension), dtype=np.float32) * weights)


def pictures(
    rng: np.random.Generator, people: NDArray[np.float32], alike: float = ALIKE
) -> NDArray[np.float32]:
    """Another picture of each."""
    noise = faces(rng, *people.shape)
    return unit(alike * people + np.sqrt(1.0 - alike * alike, dtype=np.float32) * noise)


def subjects(embeddings: NDArray[np.float32], per_person: int = 1, first: int = 0) -> list[Subject]:
    """Each so many rows are one person; their numbers begin with `first`."""
    return [
        Subject(
            f"person-{first + start // per_person:08}",
            f"Person {first + start // per_person}",
            start % 2 == 0,
            embeddings[start : start + per_person],
            MODEL.sha256,
        )
        for start in range(0, len(embeddings), per_person)
    ]

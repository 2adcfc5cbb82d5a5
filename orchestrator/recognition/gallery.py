"""The people who are enrolled, held in memory and matched exactly."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import GalleryMismatch
from orchestrator.identity import Candidate
from orchestrator.ports import ModelVersion

BEST_FEW = 5
MEND = "enrol these people again with the model in use: `fess faces import DIR` or `fess faces enrol NAME IMAGE…`"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One enrolled person.

    embeddings    float32 (k, d) unit vectors, one a picture
    model_sha256  digest of the embedder that made them
    """

    face_id: str
    person_name: str
    is_authorized: bool
    embeddings: NDArray[np.float32]
    model_sha256: str

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float32:
            raise ValueError(f"embeddings must be float32 (k, d), got {self.embeddings.shape}")


class Gallery:
    """Never changes; a reload builds another. Exact search: 10,000 x 512 in well under a millisecond."""

    def __init__(self, model: ModelVersion, dimension: int, subjects: Iterable[Subject]) -> None:
        """Sort, stack and digest. Raises GalleryMismatch for a subject of another model or dimension."""
        self.model = model
        self.dimension = dimension
        kept = [subject for subject in subjects if len(subject.embeddings)]
        self.subjects = tuple(sorted(kept, key=lambda subject: subject.face_id))
        strangers = [s.person_name for s in self.subjects if not fits(s, model, dimension)]
        if strangers:
            raise GalleryMismatch(
                f"{len(strangers)} of {len(self.subjects)} people ({', '.join(strangers[:3])}"
                f"{', …' if len(strangers) > 3 else ''}) were enrolled with another model than "
                f"{model.name} {model.version} ({dimension}-d); {MEND}"
            )
        self._by_id: Mapping[str, Subject] = {s.face_id: s for s in self.subjects}
        counts = [len(subject.embeddings) for subject in self.subjects]
        self._starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.intp)
        stacked = [subject.embeddings for subject in self.subjects]
        empty = np.empty((0, dimension), np.float32)
        self._matrix = np.ascontiguousarray(np.concatenate(stacked) if stacked else empty)
        self._matrix.flags.writeable = False
        self.version = _digest(model, dimension, self.subjects)

    @classmethod
    def empty(cls, model: ModelVersion, dimension: int) -> "Gallery":
        return cls(model, dimension, ())

    def __len__(self) -> int:
        """How many people."""
        return len(self.subjects)

    @property
    def faces(self) -> int:
        """How many embeddings."""
        return len(self._matrix)

    def subject(self, face_id: str) -> Subject | None:
        return self._by_id.get(face_id)

    def match(self, probe: NDArray[np.float32], best: int = BEST_FEW) -> tuple[Candidate, ...]:
        """The people most alike, best first; a person is as alike as their most alike picture.

        Args:
            probe: float32 (d,), a finite unit vector.
            best: how many people at most.

        Raises:
            GalleryMismatch: the probe has another dimension.
        """
        if probe.shape != (self.dimension,):
            raise GalleryMismatch(
                f"a face of shape {probe.shape} cannot be compared with {self.dimension}-d faces; {MEND}"
            )
        if not self.subjects:
            return ()
        # One dot product a row, not a threaded matrix product: on cores that decode video the threads wait for each
        # other (10,000 faces: p99 13 ms instead of 85), and the bits would depend on how many there are.
        similarities = np.vecdot(self._matrix, probe)
        alike = np.maximum.reduceat(similarities, self._starts)
        first = np.argpartition(-alike, best)[:best] if best < len(alike) else np.arange(len(alike))
        # Equal similarities go by face_id, so that a replay meets the same order.
        ranked = sorted((-float(alike[i]), int(i)) for i in first)
        return tuple(
            Candidate(self.subjects[i].face_id, self.subjects[i].person_name, -negated)
            for negated, i in ranked
        )


class GallerySource(Protocol):
    """Whoever holds the gallery in force: `GalleryWatcher`, or `FixedGallery`."""

    @property
    def current(self) -> Gallery: ...


@dataclass(frozen=True, slots=True)
class FixedGallery:
    """A gallery that stays: a replay, a test."""

    current: Gallery


def fits(subject: Subject, model: ModelVersion, dimension: int) -> bool:
    """Whether a subject's embeddings may be compared with this model's."""
    return subject.embeddings.shape[1] == dimension and subject.model_sha256 == model.sha256


def _digest(model: ModelVersion, dimension: int, subjects: tuple[Subject, ...]) -> str:
    """A hash of all that decides a match: the same people give the same version in every process."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        # Length first, so that no two different lists of parts run together to the same bytes.
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)

    add(model.sha256.encode())
    add(str(dimension).encode())
    for subject in subjects:
        add(subject.face_id.encode())
        add(subject.person_name.encode())
        add(b"1" if subject.is_authorized else b"0")
        add(subject.embeddings.astype("<f4").tobytes())
    return digest.hexdigest()[:16]

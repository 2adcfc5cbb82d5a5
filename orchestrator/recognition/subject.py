"""One enrolled person as the gallery compares them: vectors, name and authorisation."""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.ports import ModelVersion


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

    def fits(self, model: ModelVersion, dimension: int) -> bool:
        """Whether the embeddings may be compared with this model's."""
        return self.embeddings.shape[1] == dimension and self.model_sha256 == model.sha256

    def digest(self) -> bytes:
        """SHA-256 of all that decides a match with this person."""
        digest = hashlib.sha256()
        # Length first, so that no two different lists of parts run together to the same bytes.
        for part in (
            self.face_id.encode(),
            self.person_name.encode(),
            b"1" if self.is_authorized else b"0",
            self.embeddings.astype("<f4").tobytes(),
        ):
            digest.update(struct.pack("<Q", len(part)))
            digest.update(part)
        return digest.digest()

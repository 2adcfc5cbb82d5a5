"""One enrolled person as kept: vectors and dates, never a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from unicodedata import normalize
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from orchestrator.ports import ModelVersion
from orchestrator.recognition.subject import Subject

MAX_FACES = 20  # of one person; beyond it the poorest leave


@dataclass(frozen=True, slots=True, eq=False)
class EnrolledFace:
    """embedding is float32 (d,), a unit vector; quality is `FaceQuality.score`."""

    embedding: NDArray[np.float32]
    quality: float
    enrolled_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class EnrolledPerson:
    """All faces are of one model."""

    face_id: str
    person_name: str
    is_authorized: bool
    model: ModelVersion
    faces: tuple[EnrolledFace, ...]

    @property
    def dimension(self) -> int:
        return len(self.faces[0].embedding)

    def subject(self) -> Subject:
        embeddings = np.stack([face.embedding for face in self.faces])
        return Subject(
            self.face_id, self.person_name, self.is_authorized, embeddings, self.model.sha256
        )

    def with_faces(
        self, faces: Sequence[EnrolledFace], model: ModelVersion, is_authorized: bool
    ) -> "EnrolledPerson":
        """Add faces. Those of another model are useless beside them and leave; so do the poorest above MAX_FACES."""
        kept = self.faces if model.sha256 == self.model.sha256 else ()
        best = sorted((*kept, *faces), key=lambda face: -face.quality)[:MAX_FACES]
        return replace(self, model=model, faces=tuple(best), is_authorized=is_authorized)


def new_person(
    person_name: str, is_authorized: bool, model: ModelVersion, faces: Sequence[EnrolledFace]
) -> EnrolledPerson:
    """A person with an id that was never used before, not even for somebody of the same name."""
    person = EnrolledPerson(f"person-{uuid4().hex[:16]}", person_name, is_authorized, model, ())
    return person.with_faces(faces, model, is_authorized)


def folded(person_name: str) -> str:
    """The form in which two spellings of one name are equal."""
    return " ".join(normalize("NFKC", person_name).casefold().split())

"""A person claimed for a track, with what the claim stands on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One enrolled person and how alike the probe is: cosine similarity, -1..1."""

    face_id: str
    person_name: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Identity:
    """A decision. A stranger is the normal case: `person_name` is None and `face_id` begins with "unknown-".

    face_id          the enrolled subject's id, or an anonymous id that stays for the length of the track
    confidence       0..1: similarity of the decision, clipped; for a stranger 1 minus the best similarity
    is_authorized    from the gallery; False for a stranger
    candidates       the best few, best first: the evidence
    faces            how many good faces the decision rests on
    threshold, margin, agreement  the limits in force
    gallery_version  of the gallery matched against
    """

    face_id: str
    person_name: str | None
    confidence: float
    is_authorized: bool
    candidates: tuple[Candidate, ...]
    faces: int
    threshold: float
    margin: float
    agreement: int
    gallery_version: str

    @property
    def is_known(self) -> bool:
        return self.person_name is not None

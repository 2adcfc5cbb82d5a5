"""One enrolled person as the gallery's hash in Redis holds them."""

from orchestrator.recognition.codec import (
    VERSION,
    EnrolledValue,
    RejectedValue,
    Rejection,
    SubjectValue,
    decode_embedding,
    encode_embedding,
    pack,
    unpack,
)
from orchestrator.recognition.enrolled import EnrolledFace, EnrolledPerson

SUBJECTS = "gallery:subjects"


def packed(person: EnrolledPerson) -> bytes:
    value = SubjectValue(
        key=f"{SUBJECTS}/{person.face_id}",
        v=VERSION,
        face_id=person.face_id,
        person_name=person.person_name,
        is_authorized=person.is_authorized,
        model_name=person.model.name,
        model_version=person.model.version,
        model=person.model.sha256,
        dim=person.dimension,
        faces=[
            EnrolledValue(
                encoding=encode_embedding(face.embedding),
                quality=face.quality,
                enrolled_at=face.enrolled_at,
            )
            for face in person.faces
        ],
    )
    return pack(value)


def person_of(face_id: str, payload: bytes) -> EnrolledPerson:
    """Raises RejectedValue."""
    value = unpack(SubjectValue, f"{SUBJECTS}/{face_id}", payload)
    if value.face_id != face_id:
        raise RejectedValue(Rejection.WRONG_KEY, "the record names another person")
    if not value.faces:
        raise RejectedValue(Rejection.GARBAGE, "a person without a face")
    return EnrolledPerson(
        face_id,
        value.person_name,
        value.is_authorized,
        value.made_by,
        tuple(
            EnrolledFace(decode_embedding(f.encoding, value.dim), f.quality, f.enrolled_at)
            for f in value.faces
        ),
    )

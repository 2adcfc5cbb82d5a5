"""An enrolled person: what is kept, and what leaves when something is added."""

import numpy as np
import pytest

from orchestrator.ports import ModelVersion
from orchestrator.recognition.enrolled import MAX_FACES, EnrolledFace, folded, new_person
from tests.recognition.footage import BEGIN
from tests.recognition.vectors import MODEL, axis

OTHER_MODEL = ModelVersion("face_embedder", "2", "f" * 64)


def enrolled(quality: float, number: int = 0) -> EnrolledFace:
    return EnrolledFace(axis(number), quality, BEGIN)


def test_two_people_of_one_name_never_share_an_id() -> None:
    first = new_person("Ada", True, MODEL, [enrolled(0.5)])
    second = new_person("Ada", True, MODEL, [enrolled(0.5)])
    assert first.face_id != second.face_id


def test_added_faces_join_those_that_are_there() -> None:
    person = new_person("Ada", False, MODEL, [enrolled(0.5)])
    grown = person.with_faces([enrolled(0.6, 1)], MODEL, True)
    assert grown.face_id == person.face_id
    assert grown.is_authorized
    assert grown.subject().embeddings.shape == (2, 8)


def test_faces_of_another_model_leave_when_new_ones_come() -> None:
    person = new_person("Ada", True, OTHER_MODEL, [enrolled(0.9), enrolled(0.8)])
    renewed = person.with_faces([enrolled(0.5)], MODEL, True)
    assert renewed.model == MODEL
    assert len(renewed.faces) == 1


def test_beyond_the_limit_the_poorest_leave() -> None:
    faces = [enrolled(float(q)) for q in np.linspace(0.1, 0.9, MAX_FACES + 5)]
    person = new_person("Ada", True, MODEL, faces)
    assert len(person.faces) == MAX_FACES
    assert min(face.quality for face in person.faces) > 0.2


@pytest.mark.parametrize("spelling", ["Zoë Smith", "zoë  SMITH", "  Zoe\u0308 Smith "])
def test_spellings_of_one_name_are_one_name(spelling: str) -> None:
    assert folded(spelling) == "zoë smith"

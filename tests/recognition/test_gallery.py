"""The gallery: who is most alike, exactly, and never against a vector of another model."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import GalleryMismatch
from orchestrator.ports import ModelVersion
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.subject import Subject
from tests.recognition.vectors import (
    DIMENSION,
    MODEL,
    axis,
    gallery,
    like,
    subject,
    three_people,
    unit,
)

OTHER_MODEL = ModelVersion("face_embedder", "2", "f" * 64)


def test_the_most_alike_come_first() -> None:
    probe = unit(np.array([0.9, 0.3, 0.1, 0, 0, 0, 0, 0]))
    found = three_people().match(probe)
    assert [candidate.person_name for candidate in found] == ["Ada", "Ben", "Cy"]
    assert found[0].similarity == pytest.approx(0.9 / np.linalg.norm([0.9, 0.3, 0.1]), abs=1e-6)


def test_a_person_is_as_alike_as_their_most_alike_picture() -> None:
    people = gallery([subject("Ada", axis(0), axis(3), like(0, 0.5)), subject("Ben", axis(1))])
    assert people.faces == 4
    assert len(people) == 2
    found = people.match(axis(3))
    assert [(c.person_name, c.similarity) for c in found] == [("Ada", 1.0), ("Ben", 0.0)]


def test_equal_similarities_are_ordered_by_face_id() -> None:
    people = gallery([subject(name, axis(0)) for name in ("Cy", "Ada", "Ben")])
    assert [candidate.face_id for candidate in people.match(axis(0))] == ["ada", "ben", "cy"]


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 8), st.sampled_from([128, 512]), st.integers(0, 10**6))
def test_matching_is_exact(people: int, best: int, dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    subjects = [
        Subject(
            f"{i:03}", f"P{i}", False, unit(rng.normal(size=(rng.integers(1, 4), dimension))), "s"
        )
        for i in range(people)
    ]
    probe = unit(rng.normal(size=dimension))
    model = ModelVersion("m", "1", "s")
    found = Gallery(model, dimension, subjects).match(probe, best)
    expected = sorted(
        ((float((s.embeddings @ probe).max()), s.face_id) for s in subjects), reverse=True
    )[:best]
    assert [c.face_id for c in found] == [face_id for _, face_id in expected]
    assert [c.similarity for c in found] == pytest.approx([e[0] for e in expected], abs=1e-5)


def test_an_empty_gallery_knows_nobody() -> None:
    assert Gallery.empty(MODEL, DIMENSION).match(axis(0)) == ()
    assert Gallery.empty(MODEL, DIMENSION).faces == 0


@pytest.mark.parametrize(
    "stranger",
    [
        subject("Eve", axis(0), model=OTHER_MODEL),
        subject("Eve", axis(0, dimension=512)),
    ],
    ids=["another model", "another dimension"],
)
def test_a_person_enrolled_with_another_model_is_refused_with_the_mend(stranger: Subject) -> None:
    with pytest.raises(GalleryMismatch, match=r"1 of 2 people \(Eve\).*fess faces import"):
        gallery([subject("Ada", axis(0)), stranger])


def test_a_probe_of_another_dimension_is_refused() -> None:
    with pytest.raises(GalleryMismatch, match="8-d"):
        three_people().match(axis(0, dimension=512))


def test_the_version_is_a_function_of_the_content_alone() -> None:
    people = [subject("Ada", axis(0)), subject("Ben", axis(1))]
    assert gallery(people).version == gallery(people[::-1]).version


@pytest.mark.parametrize(
    "change",
    [
        lambda s: dataclasses.replace(s, person_name="Ida"),
        lambda s: dataclasses.replace(s, is_authorized=False),
        lambda s: dataclasses.replace(s, face_id="x"),
        lambda s: dataclasses.replace(s, embeddings=like(0, 0.999)[None]),
        lambda s: dataclasses.replace(s, embeddings=np.stack([axis(0), axis(2)])),
    ],
)
def test_whatever_decides_a_match_changes_the_version(change: object) -> None:
    assert callable(change)
    before, after = subject("Ada", axis(0)), change(subject("Ada", axis(0)))
    assert gallery([before]).version != gallery([after]).version

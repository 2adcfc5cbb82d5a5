"""A gallery of any size gives what comparing everybody in full gives: the same people, the same bits."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.identity import Candidate
from orchestrator.recognition import gallery as gallery_file
from orchestrator.recognition.gallery import Gallery, blocks_of
from orchestrator.recognition.gallery_block import Probe
from orchestrator.recognition.subject import Subject
from tests.recognition.faces_at_large import PER_PERSON, faces, pictures, scattered, subjects
from tests.recognition.vectors import MODEL, axis, unit

DIMENSION = 512


def compared_in_full(
    people: list[Subject], probe: NDArray[np.float32], best: int
) -> tuple[Candidate, ...]:
    """What `match` promises, without any shortcut."""
    alike = [(-float(np.vecdot(s.embeddings, probe).max()), s.face_id) for s in people]
    names = {s.face_id: s.person_name for s in people}
    return tuple(Candidate(i, names[i], -negated) for negated, i in sorted(alike)[:best])


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Subject], NDArray[np.float32]]:
    """People and a probe: spread out, crowded together, the same twice over, hardly coded by a byte."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, dimension = draw(st.integers(1, 120)), draw(st.sampled_from([2, 8, 128, 512]))
    vectors = scattered(rng, count, dimension)
    shape = draw(st.sampled_from(["scattered", "crowded", "repeated", "spiky"]))
    if shape == "crowded":
        vectors = unit(vectors * np.float32(0.01) + axis(0, dimension))
    elif shape == "repeated":
        vectors = vectors[rng.integers(0, max(1, count // 4), count)]
    elif shape == "spiky":  # one number far above the others, which then share a few levels
        vectors[:, 0] += np.float32(draw(st.sampled_from([1.0, 10.0, 1000.0])))
        vectors = unit(vectors)
    near = vectors[rng.integers(0, count)]
    probe = unit(near + np.float32(draw(st.sampled_from([0.0, 0.3, 3.0]))) * vectors[0])
    return subjects(vectors, draw(st.integers(1, 4))), probe


@settings(max_examples=300, deadline=None)
@given(crowds(), st.integers(1, 8), st.sampled_from([7, 50, 10_000]))
def test_no_similarity_is_an_estimate_and_nobody_is_overlooked(
    crowd: tuple[list[Subject], NDArray[np.float32]], best: int, block: int
) -> None:
    people, probe = crowd
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_file, "BLOCK_FACES", block)
        found = Gallery(MODEL, len(probe), people).match(probe, best)
    assert found == compared_in_full(people, probe, best)


@settings(max_examples=200, deadline=None)
@given(crowds())
def test_the_truth_is_never_further_from_an_estimate_than_is_said(
    crowd: tuple[list[Subject], NDArray[np.float32]],
) -> None:
    people, probe = crowd
    for block in blocks_of(people):
        estimates, bound = block.estimate(Probe.of(probe))
        truth = [(s.embeddings.astype(np.float64) @ probe).max() for s in people]
        assert np.abs(estimates - truth).max() <= bound


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.integers(0, 30), max_size=8), st.integers(0, 99)), max_size=6),
    st.sampled_from([3, 8, 1000]),
)
def test_a_gallery_that_was_changed_is_the_one_that_was_built_anew(
    changes: list[tuple[set[int], int]], block: int
) -> None:
    rng = np.random.default_rng(0)
    held: dict[str, Subject] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_file, "BLOCK_FACES", block)
        changed = Gallery.empty(MODEL, DIMENSION)
        for touched, stay in changes:
            fresh = subjects(scattered(rng, 31, DIMENSION))
            come = [fresh[i] for i in sorted(touched) if (i + stay) % 3]
            gone = {fresh[i].face_id for i in touched}
            changed = changed.changed(gone, blocks_of(come))
            held = {i: s for i, s in held.items() if i not in gone} | {s.face_id: s for s in come}
        anew = Gallery(MODEL, DIMENSION, held.values())
    probe = scattered(rng, 1, DIMENSION)[0]
    assert changed.version == anew.version
    assert changed.match(probe) == anew.match(probe)
    assert (changed.faces, len(changed)) == (anew.faces, len(anew))
    assert [s.face_id for s in changed.subjects] == [s.face_id for s in anew.subjects]


def test_nothing_of_somebody_who_was_removed_stays_in_memory() -> None:
    people = subjects(scattered(np.random.default_rng(0), 6, DIMENSION))
    (block,) = blocks_of(people)
    for gone in ({people[0].face_id}, {people[5].face_id}, {p.face_id for p in people[1:]}):
        rest = block.without(gone)
        assert rest is not None
        for column in (rest.matrix, rest.codes):
            assert not np.shares_memory(column, block.matrix)
            assert not np.shares_memory(column, block.codes)
            assert column.base is None


def test_who_is_not_touched_by_a_change_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_file, "BLOCK_FACES", 10)
    people = subjects(scattered(np.random.default_rng(0), 100, DIMENSION))
    before = Gallery(MODEL, DIMENSION, people)
    after = before.changed({people[55].face_id}, ())
    assert len({id(b) for b in before._blocks} & {id(b) for b in after._blocks}) == 9


@pytest.fixture(scope="module")
def people() -> NDArray[np.float32]:
    return faces(np.random.default_rng(7), 30_000, 128)


@pytest.fixture(scope="module")
def large(people: NDArray[np.float32]) -> Gallery:
    """150,000 faces of 30,000 people."""
    rng = np.random.default_rng(8)
    return Gallery(MODEL, 128, subjects(pictures(rng, people.repeat(PER_PERSON, 0)), PER_PERSON))


@pytest.mark.parametrize("enrolled", [True, False], ids=["enrolled", "strangers"])
def test_among_150_000_faces_the_best_and_the_second_person_are_found_every_time(
    people: NDArray[np.float32], large: Gallery, enrolled: bool
) -> None:
    rng = np.random.default_rng(9)
    probes = pictures(rng, people[:60]) if enrolled else faces(rng, 60, 128)
    assert large.faces == 150_000
    everybody = list(large.subjects)
    stacked = np.concatenate([subject.embeddings for subject in everybody])
    for probe in probes:
        alike = np.vecdot(stacked, probe).reshape(-1, PER_PERSON).max(axis=1)
        order = np.argsort(-alike, kind="stable")[:2]
        found = large.match(probe)
        assert [c.face_id for c in found[:2]] == [everybody[i].face_id for i in order]
        assert [c.similarity for c in found[:2]] == alike[order].tolist()


async def test_a_search_that_takes_long_leaves_the_event_loop_free(
    people: NDArray[np.float32], large: Gallery
) -> None:
    probes = pictures(np.random.default_rng(10), people[:30])
    async with asyncio.TaskGroup() as tasks:
        searching = tasks.create_task(large.match_each(probes))
        turns = 0
        while not searching.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns > 10
    assert searching.result() == [large.match(probe) for probe in probes]

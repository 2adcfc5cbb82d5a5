"""Following a gallery in a real Redis: only what changed is read, and whatever happened, the gallery is the store's."""

import dataclasses
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.recognition import gallery_store
from orchestrator.recognition.enrolled import EnrolledPerson
from orchestrator.recognition.gallery import Gallery
from orchestrator.recognition.gallery_reader import GalleryReader
from orchestrator.recognition.gallery_store import LOG, REVISIONS, GalleryStore
from orchestrator.recognition.subject_record import SUBJECTS
from tests.recognition.redis import emptied, enrolled
from tests.recognition.vectors import DIMENSION, MODEL, axis, like

pytestmark = pytest.mark.xdist_group("redis")

MANY = 400


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with emptied(redis_server) as redis:
        yield redis


@pytest.fixture
def store(redis: Redis) -> GalleryStore:
    return GalleryStore(redis)


async def save(store: GalleryStore, person: EnrolledPerson) -> None:
    await store.change(person.person_name, lambda _: person)


def looking(person: EnrolledPerson, embedding: np.ndarray) -> EnrolledPerson:
    face = dataclasses.replace(person.faces[0], embedding=embedding)
    return dataclasses.replace(person, faces=(face,))


async def crowd(store: GalleryStore, count: int = MANY) -> None:
    for number in range(count):
        await save(store, looking(enrolled(f"P{number}", 0), like(1, number / count)))


async def truth(store: GalleryStore) -> Gallery:
    """The gallery that somebody has who reads everything for the first time."""
    return await GalleryReader(store, MODEL, DIMENSION).latest()


async def bytes_sent(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_net_output_bytes"])


async def follower(store: GalleryStore) -> GalleryReader:
    reader = GalleryReader(store, MODEL, DIMENSION)
    await reader.latest()
    return reader


async def test_a_change_among_many_reads_little_more_than_the_change(
    redis: Redis, store: GalleryStore
) -> None:
    await crowd(store)
    reader = await follower(store)
    await save(store, enrolled("Ada", 0))
    record = await redis.hstrlen(SUBJECTS, "person-ada")
    before = await bytes_sent(redis)
    gallery = await reader.latest()
    assert await bytes_sent(redis) - before < record + 4000  # INFO itself is most of that
    assert len(gallery) == MANY + 1
    assert gallery.version == (await truth(store)).version


async def test_a_removed_person_is_not_found_any_more(store: GalleryStore) -> None:
    await save(store, enrolled("Ada", 0))
    await save(store, enrolled("Ben", 1))
    reader = await follower(store)
    await store.remove("Ada")
    gallery = await reader.latest()
    assert [candidate.person_name for candidate in gallery.match(axis(0))] == ["Ben"]
    assert gallery.subject("person-ada") is None


async def test_a_person_who_is_enrolled_anew_is_known_by_the_new_face_alone(
    store: GalleryStore,
) -> None:
    ada = enrolled("Ada", 0)
    await save(store, ada)
    await save(store, enrolled("Ben", 1))
    reader = await follower(store)
    await save(store, looking(ada, axis(2)))
    gallery = await reader.latest()
    assert gallery.faces == 2
    assert gallery.match(axis(2))[0].person_name == "Ada"
    assert gallery.match(axis(0))[0].similarity == 0.0


async def test_a_reader_that_missed_every_announcement_catches_up_at_once(
    store: GalleryStore,
) -> None:
    reader = await follower(store)
    await crowd(store, 30)
    for number in range(0, 30, 3):
        await store.remove(f"P{number}")
    gallery = await reader.latest()
    assert len(gallery) == 20
    assert gallery.version == (await truth(store)).version


async def test_a_reader_that_the_log_does_not_reach_compares_everything(
    store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_store, "LOG_ENTRIES", 3)
    await crowd(store, 10)
    reader = await follower(store)
    held = await store.stamp()
    await store.remove("P2")
    for number in range(5, 9):
        await save(store, looking(enrolled(f"P{number}", 0), axis(3)))
    assert await store.changed_since(held.version) is None
    gallery = await reader.latest()
    assert len(gallery) == 9
    assert gallery.version == (await truth(store)).version


async def test_a_log_that_was_lost_is_not_taken_for_no_change(
    redis: Redis, store: GalleryStore
) -> None:
    await crowd(store, 5)
    reader = await follower(store)
    await store.remove("P1")
    await redis.delete(LOG)
    assert (await reader.latest()).version == (await truth(store)).version
    await store.remove("P2")
    await redis.delete(LOG)
    await save(store, enrolled("Ada", 0))
    gallery = await reader.latest()
    assert len(gallery) == 4
    assert gallery.subject("person-p2") is None


async def test_a_gallery_that_was_replaced_as_a_whole_is_read_as_a_whole(
    redis: Redis, store: GalleryStore
) -> None:
    await crowd(store, 10)
    reader = await follower(store)
    await redis.flushdb()
    for number in range(10, 30):
        await save(store, looking(enrolled(f"P{number}", 0), axis(number % DIMENSION)))
    gallery = await reader.latest()
    assert {subject.person_name for subject in gallery.subjects} == {f"P{n}" for n in range(10, 30)}


async def test_a_record_that_vanished_is_damaged_and_not_removed(
    redis: Redis, store: GalleryStore
) -> None:
    await save(store, enrolled("Ada", 0))
    await save(store, enrolled("Ben", 1))
    await redis.hdel(SUBJECTS, "person-ada")
    loaded = await GalleryReader(store, MODEL, DIMENSION).update(await store.stamp())
    assert set(loaded.rejected) == {"person-ada"}
    await redis.hdel(REVISIONS, "person-ada")
    loaded = await GalleryReader(store, MODEL, DIMENSION).update(await store.stamp())
    assert set(loaded.rejected) == set()


async def test_a_person_removed_while_everybody_is_read_is_not_in_the_gallery(
    store: GalleryStore,
) -> None:
    class Busy(GalleryStore):
        """Somebody removes P7 between the list of people and their records, and enrols Ada."""

        async def all_revisions(self) -> dict[str, int]:
            found = await super().all_revisions()
            if await self.remove("P7"):
                await save(self, enrolled("Ada", 0))
            return found

    await crowd(store, 10)
    gallery = await GalleryReader(Busy(store._redis), MODEL, DIMENSION).latest()
    assert gallery.subject("person-p7") is None
    assert gallery.subject("person-ada") is not None
    assert gallery.version == (await truth(store)).version


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enrol", "enrol", "remove", "read", "lose the log"]), st.integers(0, 5)
        ),
        max_size=25,
    )
)
async def test_after_any_history_the_reader_has_what_the_store_has(
    redis: Redis, store: GalleryStore, history: list[tuple[str, int]]
) -> None:
    await redis.flushdb()
    reader = await follower(store)
    for turn, (what, who) in enumerate(history):
        if what == "enrol":
            face = like(who, (turn % 10) / 10)
            await save(store, looking(enrolled(f"P{who}", who), face))
        elif what == "remove":
            await store.remove(f"P{who}")
        elif what == "read":
            await reader.latest()
        else:
            await redis.delete(LOG)
    gallery, expected = await reader.latest(), await truth(store)
    assert gallery.version == expected.version
    assert gallery.match(axis(1)) == expected.match(axis(1))

"""The gallery in a real Redis: changed all or nothing, and followed by every worker."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.errors import GalleryError
from orchestrator.metrics import Metrics
from orchestrator.ports import ModelVersion
from orchestrator.recognition.enrolled import EnrolledPerson
from orchestrator.recognition.gallery_store import EPOCH, LOG, NAMES, VERSION_KEY, GalleryStore
from orchestrator.recognition.gallery_watcher import GalleryWatcher
from orchestrator.recognition.subject_record import SUBJECTS
from tests.recognition.redis import emptied, enrolled
from tests.recognition.vectors import DIMENSION, MODEL, axis

pytestmark = pytest.mark.xdist_group("redis")

OTHER_MODEL = ModelVersion("face_embedder", "2", "f" * 64)


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with emptied(redis_server) as redis:
        yield redis


@pytest.fixture
def store(redis: Redis) -> GalleryStore:
    return GalleryStore(redis)


def watcher_of(redis: Redis, poll_s: float = 0.5) -> GalleryWatcher:
    return GalleryWatcher(
        redis, MODEL, DIMENSION, metrics=Metrics(CollectorRegistry()), poll_s=poll_s
    )


async def save(store: GalleryStore, person: EnrolledPerson) -> None:
    await store.change(person.person_name, lambda _: person)


def same(person: EnrolledPerson | None, other: EnrolledPerson) -> bool:
    return person is not None and _content(person) == _content(other)


def _content(person: EnrolledPerson) -> tuple[object, ...]:
    faces = [(face.embedding.tobytes(), face.quality, face.enrolled_at) for face in person.faces]
    return (person.face_id, person.person_name, person.is_authorized, person.model, faces)


@asynccontextmanager
async def following(*watchers: GalleryWatcher) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watcher.run()) for watcher in watchers]
        yield
        for task in running:
            task.cancel()


async def until(holds: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_an_enrolled_person_is_found_by_any_spelling_and_by_id(store: GalleryStore) -> None:
    ada = enrolled("Ada", 0)
    await save(store, ada)
    assert same(await store.find("ada"), ada)
    assert same(await store.find(" ADA "), ada)
    assert same(await store.find(ada.face_id), ada)
    assert await store.find("Ben") is None


async def test_people_are_listed_by_name(store: GalleryStore) -> None:
    for number, name in enumerate(["cy", "Ada", "Ben"]):
        await save(store, enrolled(name, number))
    assert [person.person_name for person in await store.people()] == ["Ada", "Ben", "cy"]


async def test_nothing_of_the_gallery_expires_but_the_log_of_changes(
    store: GalleryStore, redis: Redis
) -> None:
    await save(store, enrolled("Ada", 0))
    expiring = [key for key in await redis.keys("gallery:*") if await redis.ttl(key) != -1]
    assert expiring == [LOG.encode()]


async def test_a_removed_person_leaves_nothing_behind_but_the_count_and_the_log_of_changes(
    store: GalleryStore, redis: Redis
) -> None:
    ada = enrolled("Ada", 0)
    await save(store, ada)
    await redis.set(f"face:{ada.face_id}", b"cached")
    await redis.zadd("faces:cached", {ada.face_id: 1.0})
    assert await store.remove("ADA") == ada.face_id
    assert await store.remove("Ada") is None
    assert set(await redis.keys("*")) == {key.encode() for key in (VERSION_KEY, EPOCH, LOG)}
    assert await redis.get(VERSION_KEY) == b"2"


async def test_changes_made_at_the_same_time_are_all_kept(store: GalleryStore) -> None:
    ada = enrolled("Ada", 0)
    await save(store, ada)

    async def add(number: int) -> None:
        face = enrolled("Ada", number).faces

        def become(person: EnrolledPerson | None) -> EnrolledPerson:
            assert person is not None
            return person.with_faces(face, MODEL, True)

        await store.change("Ada", become)

    async with asyncio.TaskGroup() as tasks:
        for number in range(1, 7):
            tasks.create_task(add(number))
    person = await store.find("Ada")
    assert person is not None
    assert len(person.faces) == 7
    assert (await store.stamp()).version == 7


async def test_a_change_that_is_given_up_changes_nothing(store: GalleryStore) -> None:
    def refuse(person: EnrolledPerson | None) -> EnrolledPerson:
        raise GalleryError("changed my mind")

    with pytest.raises(GalleryError, match="changed my mind"):
        await store.change("Ada", refuse)
    assert (await store.stamp()).version == 0
    assert await store.people() == ()


async def test_a_person_who_takes_another_name_is_not_found_by_the_old_one(
    store: GalleryStore,
) -> None:
    ada = enrolled("Ada", 0)
    await save(store, ada)
    await store.change("Ada", lambda _: dataclasses.replace(ada, person_name="Ida"))
    assert await store.find("Ada") is None
    assert await store.remove("Ida") == ada.face_id


async def test_a_damaged_record_is_told_with_its_mend_and_can_be_removed(
    store: GalleryStore, redis: Redis
) -> None:
    await save(store, enrolled("Ada", 0))
    await redis.hset(SUBJECTS, "person-ada", b"garbage")
    with pytest.raises(GalleryError, match="fess faces remove person-ada"):
        await store.find("Ada")
    assert await store.people() == ()
    assert await store.remove("person-ada") == "person-ada"
    assert await redis.hlen(NAMES) == 0


async def test_a_record_under_somebody_elses_id_is_not_believed(
    store: GalleryStore, redis: Redis
) -> None:
    await save(store, enrolled("Ada", 0))
    await save(store, enrolled("Ben", 1))
    await redis.hset(SUBJECTS, "person-ada", await redis.hget(SUBJECTS, "person-ben"))
    (records,) = [each async for each in store.records(["person-ada", "person-ben"])]
    assert set(records.rejected) == {"person-ada"}
    assert set(records.people) == {"person-ben"}


async def test_every_worker_has_a_change_within_a_second(redis: Redis, store: GalleryStore) -> None:
    first, second = watcher_of(redis), watcher_of(redis)
    async with following(first, second):
        await until(lambda: not first.degraded and not second.degraded, 5.0)
        await save(store, enrolled("Ada", 0))
        await until(lambda: len(first.current) == 1 and len(second.current) == 1, 1.0)
        await store.remove("Ada")
        await until(lambda: len(first.current) == 0 and len(second.current) == 0, 1.0)
    assert first.current.version == second.current.version


async def test_without_the_channel_a_change_is_noticed_all_the_same(
    redis: Redis, store: GalleryStore
) -> None:
    watcher = watcher_of(redis)
    await watcher.refresh()
    await save(store, enrolled("Ada", 0))
    assert await watcher.refresh()
    assert not await watcher.refresh()
    assert watcher.current.match(axis(0))[0].person_name == "Ada"


async def test_a_change_is_announced_and_not_only_polled(redis: Redis, store: GalleryStore) -> None:
    watcher = watcher_of(redis, poll_s=60.0)
    async with following(watcher):
        await until(lambda: not watcher.degraded, 5.0)
        await asyncio.sleep(0.2)  # the channel needs a moment to be joined
        await save(store, enrolled("Ada", 0))
        await until(lambda: len(watcher.current) == 1, 5.0)


async def test_people_of_another_model_are_left_out_and_the_mend_is_told(
    redis: Redis, store: GalleryStore
) -> None:
    await save(store, enrolled("Ada", 0))
    await save(store, dataclasses.replace(enrolled("Ben", 1), model=OTHER_MODEL))
    watcher = watcher_of(redis)
    await watcher.refresh()
    assert [subject.person_name for subject in watcher.current.subjects] == ["Ada"]
    assert watcher.degraded
    assert "fess faces import" in (watcher.problem or "")


async def test_a_damaged_record_does_not_keep_the_others_from_being_recognised(
    redis: Redis, store: GalleryStore
) -> None:
    await save(store, enrolled("Ada", 0))
    await save(store, enrolled("Ben", 1))
    await redis.hset(SUBJECTS, "person-ben", b"garbage")
    watcher = watcher_of(redis)
    await watcher.refresh()
    assert [subject.person_name for subject in watcher.current.subjects] == ["Ada"]
    assert "person-ben" in (watcher.problem or "")


async def test_a_gallery_that_vanished_stays_in_use_until_there_is_another(
    redis: Redis, store: GalleryStore
) -> None:
    await save(store, enrolled("Ada", 0))
    watcher = watcher_of(redis)
    await watcher.refresh()
    await redis.flushdb()
    assert not await watcher.refresh()
    assert len(watcher.current) == 1
    assert "lost the gallery" in (watcher.problem or "")
    await save(store, enrolled("Ben", 1))
    await watcher.refresh()
    assert [subject.person_name for subject in watcher.current.subjects] == ["Ben"]
    assert not watcher.degraded


async def test_a_restored_backup_is_read_as_a_whole(redis: Redis, store: GalleryStore) -> None:
    await save(store, enrolled("Ada", 0))
    backup = {key: await redis.dump(key) or b"" for key in await redis.keys("gallery:*")}
    await save(store, enrolled("Ben", 1))
    watcher = watcher_of(redis)
    await watcher.refresh()
    await redis.flushdb()
    for key, value in backup.items():
        await redis.restore(key, 0, value)
    await watcher.refresh()
    assert [subject.person_name for subject in watcher.current.subjects] == ["Ada"]


async def test_when_the_embedder_is_swapped_only_its_own_people_can_be_recognised(
    redis: Redis, store: GalleryStore
) -> None:
    await save(store, enrolled("Ada", 0))
    watcher = watcher_of(redis)
    async with following(watcher):
        await until(lambda: len(watcher.current) == 1, 30.0)
        before = watcher.current
        watcher.use(OTHER_MODEL, DIMENSION)
        # Until the new one is made: nothing of the new embedder is compared with it.
        assert watcher.current is before
        await until(lambda: watcher.current.model == OTHER_MODEL, 30.0)
        assert len(watcher.current) == 0
        await until(lambda: watcher.problem is not None, 30.0)
        assert "1 people were enrolled with another model" in str(watcher.problem)
        watcher.use(MODEL, DIMENSION)
        await until(lambda: len(watcher.current) == 1 and watcher.problem is None, 30.0)
    assert watcher.current.version == before.version

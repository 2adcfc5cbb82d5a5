"""Where the gallery lives: Redis, without expiry, changed only as a whole.

gallery:subjects   hash  face_id -> msgpack, `codec.SubjectValue`
gallery:revisions  hash  face_id -> the version in which the person last changed
gallery:log        sorted set  face_id by the version in which it last changed or was removed: the last LOG_ENTRIES
gallery:names      hash  folded name -> face_id
gallery:version    how many changes there were
gallery:epoch      a random id from the first enrolment: tells an emptied gallery from a lost one
gallery:changed    channel; the new version is published with every change
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from orchestrator.errors import CacheError, GalleryError
from orchestrator.recognition.codec import RejectedValue
from orchestrator.recognition.connection import failing_as_cache_error
from orchestrator.recognition.enrolled import EnrolledPerson, folded
from orchestrator.recognition.face_cache import INDEX, face_key
from orchestrator.recognition.subject_record import SUBJECTS, packed, person_of

REVISIONS = "gallery:revisions"
NAMES = "gallery:names"
VERSION_KEY = "gallery:version"
EPOCH = "gallery:epoch"
LOG = "gallery:log"
CHANGED = "gallery:changed"

ATTEMPTS = 20  # how often a change is tried when others change the gallery at the same time
FETCH = 20  # people fetched in one command: a millisecond or two of work for the event loop
SCAN = 1000  # revisions fetched in one command
LOG_ENTRIES = 10_000  # a reader that is further behind compares all revisions
LOG_S = 3600  # so that the id of somebody who was removed does not stay

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which state of the store was read. An empty epoch: nothing was ever enrolled, or all of it is lost."""

    epoch: str
    version: int


@dataclass(frozen=True, slots=True)
class Records:
    """What stands in the store under some ids; who is in neither was removed.

    rejected  ids whose record is not sound
    """

    people: Mapping[str, EnrolledPerson]
    rejected: Mapping[str, RejectedValue]


class GalleryStore:
    """Reads and changes the store; several processes may do so at once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def stamp(self) -> Stamp:
        """Raises CacheError."""
        with failing_as_cache_error("read the gallery's version"):
            epoch, version = await self._redis.mget(EPOCH, VERSION_KEY)
        return Stamp(_text(epoch), _count(version))

    async def changed_since(self, version: int) -> tuple[str, ...] | None:
        """Who was changed or removed after this version; None where the log does not reach back so far.

        Raises CacheError.
        """
        with failing_as_cache_error("read the gallery's log"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(VERSION_KEY)
                pipe.zrange(LOG, 0, 0, withscores=True)
                pipe.zrangebyscore(LOG, version + 1, "+inf", withscores=True)
                now, oldest, entries = await pipe.execute()
        # Every change has a version of its own, and what was cut off the log is older than all that stands in it.
        reaches = bool(oldest) and int(oldest[0][1]) <= version + 1
        complete = bool(entries) and int(entries[-1][1]) == _count(now)
        return tuple(_text(face_id) for face_id, _ in entries) if reaches and complete else None

    async def revisions(self, face_ids: Sequence[str]) -> dict[str, int]:
        """The versions in which these people last changed; who was removed is not among them. Raises CacheError."""
        found: dict[str, int] = {}
        for part in _parts(face_ids):
            with failing_as_cache_error("read the gallery"):
                values = await self._redis.hmget(REVISIONS, part)
            found |= {i: _count(v) for i, v in zip(part, values, strict=True) if v is not None}
        return found

    async def all_revisions(self) -> dict[str, int]:
        """The same of everybody, a piece at a time: one reply of a million people would stop Redis and us for seconds.

        Raises CacheError.
        """
        found: dict[str, int] = {}
        cursor = 0
        while True:
            with failing_as_cache_error("read the gallery"):
                cursor, fields = await self._redis.hscan(REVISIONS, cursor, count=SCAN)
            # Typed for `no_values` too, which gives a list of names.
            assert isinstance(fields, dict)
            found |= {_text(i): _count(revision) for i, revision in fields.items()}
            if not cursor:
                return found

    async def records(self, face_ids: Sequence[str]) -> AsyncIterator[Records]:
        """The records of these people, some at a time. Raises CacheError."""
        for part in _parts(face_ids):
            yield await self._fetch(part)

    async def people(self) -> tuple[EnrolledPerson, ...]:
        """Everybody whose record is sound, by name. Raises CacheError."""
        people: list[EnrolledPerson] = []
        async for records in self.records(sorted(await self.all_revisions())):
            people.extend(records.people.values())
        return tuple(sorted(people, key=lambda p: (folded(p.person_name), p.face_id)))

    async def find(self, name_or_id: str) -> EnrolledPerson | None:
        """One person. Raises CacheError; GalleryError if the record is not sound."""
        with failing_as_cache_error("look a person up"):
            found = await self._redis.hget(NAMES, folded(name_or_id))
            face_id = _text(found) or name_or_id
            payload = await self._redis.hget(SUBJECTS, face_id)
        return None if payload is None else _sound(face_id, _bytes(payload))

    async def change(
        self, person_name: str, become: Callable[[EnrolledPerson | None], EnrolledPerson]
    ) -> EnrolledPerson:
        """Replace one person by what `become` makes of them, or enrol them, all or nothing.

        `become` is called again if somebody else changed the gallery meanwhile. Raises CacheError, and GalleryError if
        the present record is not sound.
        """

        async def attempt(pipe: Pipeline) -> EnrolledPerson:
            face_id = _text(await pipe.hget(NAMES, folded(person_name)))
            payload = await pipe.hget(SUBJECTS, face_id) if face_id else None
            before = _sound(face_id, _bytes(payload)) if payload is not None else None
            person = become(before)
            version = await self._begin(pipe, person.face_id)
            if before is not None:
                pipe.hdel(NAMES, folded(before.person_name))
            pipe.hset(SUBJECTS, person.face_id, packed(person))
            pipe.hset(REVISIONS, person.face_id, version)
            pipe.hset(NAMES, folded(person.person_name), person.face_id)
            return person

        return await self._transact(attempt)

    async def remove(self, name_or_id: str) -> str | None:
        """Take a person out, sound record or not; returns their face id, or None for nobody. Raises CacheError."""

        async def attempt(pipe: Pipeline) -> str | None:
            face_id = _text(await pipe.hget(NAMES, folded(name_or_id))) or name_or_id
            if not await pipe.hexists(REVISIONS, face_id):
                return None
            names = {folded(name_or_id), *await self._names_of(pipe, face_id)}
            await self._begin(pipe, face_id)
            pipe.hdel(SUBJECTS, face_id)
            pipe.hdel(REVISIONS, face_id)
            pipe.hdel(NAMES, *names)
            # The face cache holds the same person's face until it expires: it goes with them.
            pipe.unlink(face_key(face_id))
            pipe.zrem(INDEX, face_id)
            return face_id

        return await self._transact(attempt)

    async def _transact(self, attempt: Callable[[Pipeline], Awaitable[T]]) -> T:
        """Run what reads, then queues, until nobody came between."""
        with failing_as_cache_error("change the gallery"):
            for _ in range(ATTEMPTS):
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.watch(VERSION_KEY, EPOCH)
                    result = await attempt(pipe)
                    try:
                        await pipe.execute()
                    except WatchError:
                        continue
                    return result
        raise CacheError("others keep changing the gallery; try again")

    async def _names_of(self, pipe: Pipeline, face_id: str) -> list[str]:
        """Under which names a person is found: the one of the record, and where that is damaged all are searched."""
        try:
            person = person_of(face_id, _bytes(await pipe.hget(SUBJECTS, face_id)))
        except RejectedValue:
            names = await pipe.hgetall(NAMES)
            return [_text(name) for name, owner in names.items() if _text(owner) == face_id]
        return [folded(person.person_name)]

    async def _begin(self, pipe: Pipeline, face_id: str) -> int:
        """Go from reading to queueing; returns the version that this change will make."""
        version = _count(await pipe.get(VERSION_KEY)) + 1
        pipe.multi()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        pipe.set(EPOCH, uuid4().hex, nx=True)
        pipe.set(VERSION_KEY, version)
        pipe.zadd(LOG, {face_id: version})
        pipe.zremrangebyrank(LOG, 0, -LOG_ENTRIES - 1)
        pipe.expire(LOG, LOG_S)
        pipe.publish(CHANGED, version)
        return version

    async def _fetch(self, face_ids: list[str]) -> Records:
        with failing_as_cache_error("read the gallery"):
            payloads = await self._redis.hmget(SUBJECTS, face_ids)
        absent = [i for i, payload in zip(face_ids, payloads, strict=True) if payload is None]
        # Without a record, but with a revision: not removed, but damaged.
        damaged = await self.revisions(absent)
        people: dict[str, EnrolledPerson] = {}
        rejected: dict[str, RejectedValue] = {}
        for face_id, payload in zip(face_ids, payloads, strict=True):
            if payload is None and face_id not in damaged:
                continue
            try:
                people[face_id] = person_of(face_id, _bytes(payload))
            except RejectedValue as reason:
                rejected[face_id] = reason
        return Records(people, rejected)


def _parts(face_ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(face_ids), FETCH):
        yield list(face_ids[start : start + FETCH])


def _sound(face_id: str, payload: bytes) -> EnrolledPerson:
    try:
        return person_of(face_id, payload)
    except RejectedValue as error:
        raise GalleryError(
            f"the record of {face_id} in Redis is damaged ({error}); remove it with "
            f"`fess faces remove {face_id}` and enrol the person again"
        ) from error


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _count(value: object) -> int:
    """A counter of ours; whatever else lies there counts as 0 and is thereby read again."""
    return int(value) if isinstance(value, bytes) and value.isdigit() else 0

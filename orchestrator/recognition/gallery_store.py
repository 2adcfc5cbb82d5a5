"""Where the gallery lives: Redis, without expiry, changed only as a whole.

gallery:subjects   hash  face_id -> msgpack, `codec.SubjectValue`
gallery:revisions  hash  face_id -> the version in which the person last changed
gallery:names      hash  folded name -> face_id
gallery:version    how many changes there were
gallery:epoch      a random id from the first enrolment: tells an emptied gallery from a lost one
gallery:changed    channel; the new version is published with every change
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from orchestrator.errors import CacheError, GalleryError
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
from orchestrator.recognition.connection import failing_as_cache_error
from orchestrator.recognition.enrolled import EnrolledFace, EnrolledPerson, folded
from orchestrator.recognition.face_cache import INDEX, face_key

SUBJECTS = "gallery:subjects"
REVISIONS = "gallery:revisions"
NAMES = "gallery:names"
VERSION_KEY = "gallery:version"
EPOCH = "gallery:epoch"
CHANGED = "gallery:changed"

ATTEMPTS = 20  # how often a change is tried when others change the gallery at the same time
FETCH = 500  # people fetched in one command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which state of the store was read. An empty epoch: nothing was ever enrolled, or all of it is lost."""

    epoch: str
    version: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference to what the reader had: `revisions` are all people, `people` those that are new or changed.

    rejected  ids whose record is not sound
    """

    stamp: Stamp
    revisions: Mapping[str, int]
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

    async def changes(self, known: Mapping[str, int], epoch: str) -> Changes:
        """What changed since `known`, a mapping of face id to revision read in this epoch. Raises CacheError."""
        for _ in range(ATTEMPTS):
            with failing_as_cache_error("read the gallery"):
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.mget(EPOCH, VERSION_KEY)
                    pipe.hgetall(REVISIONS)
                    (read_epoch, version), fields = await pipe.execute()
            stamp = Stamp(_text(read_epoch), _count(version))
            revisions = {_text(face_id): _count(revision) for face_id, revision in fields.items()}
            same = known if epoch == stamp.epoch else {}
            wanted = sorted(i for i, revision in revisions.items() if same.get(i) != revision)
            people, rejected = await self._fetch(wanted)
            if await self.stamp() == stamp:
                return Changes(stamp, revisions, people, rejected)
        raise CacheError("the gallery changed all the time while it was read; it is read again")

    async def people(self) -> tuple[EnrolledPerson, ...]:
        """Everybody whose record is sound, by name. Raises CacheError."""
        changes = await self.changes({}, "")
        return tuple(
            sorted(changes.people.values(), key=lambda p: (folded(p.person_name), p.face_id))
        )

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
            person = become(_sound(face_id, _bytes(payload)) if payload is not None else None)
            version = await self._begin(pipe)
            pipe.hset(SUBJECTS, person.face_id, pack(_value(person)))
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
            names = await pipe.hgetall(NAMES)
            await self._begin(pipe)
            pipe.hdel(SUBJECTS, face_id)
            pipe.hdel(REVISIONS, face_id)
            for name, owner in names.items():
                if _text(owner) == face_id:
                    pipe.hdel(NAMES, name)
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

    async def _begin(self, pipe: Pipeline) -> int:
        """Go from reading to queueing; returns the version that this change will make."""
        version = _count(await pipe.get(VERSION_KEY)) + 1
        pipe.multi()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        pipe.set(EPOCH, uuid4().hex, nx=True)
        pipe.set(VERSION_KEY, version)
        pipe.publish(CHANGED, version)
        return version

    async def _fetch(
        self, face_ids: list[str]
    ) -> tuple[dict[str, EnrolledPerson], dict[str, RejectedValue]]:
        people: dict[str, EnrolledPerson] = {}
        rejected: dict[str, RejectedValue] = {}
        for start in range(0, len(face_ids), FETCH):
            part = face_ids[start : start + FETCH]
            with failing_as_cache_error("read the gallery"):
                payloads = await self._redis.hmget(SUBJECTS, part)
            for face_id, payload in zip(part, payloads, strict=True):
                try:
                    people[face_id] = _person(face_id, _bytes(payload))
                except RejectedValue as reason:
                    rejected[face_id] = reason
        return people, rejected


def _value(person: EnrolledPerson) -> SubjectValue:
    return SubjectValue(
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


def _person(face_id: str, payload: bytes) -> EnrolledPerson:
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


def _sound(face_id: str, payload: bytes) -> EnrolledPerson:
    try:
        return _person(face_id, payload)
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

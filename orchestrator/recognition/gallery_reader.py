"""Brings a gallery up to date with the store: reads only what changed, and the old one stays until then."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import compress

from orchestrator.errors import CacheError
from orchestrator.ports import ModelVersion
from orchestrator.recognition.codec import RejectedValue
from orchestrator.recognition.gallery import BLOCK_FACES, Gallery
from orchestrator.recognition.gallery_block import Block
from orchestrator.recognition.gallery_store import ATTEMPTS, GalleryStore, Stamp


@dataclass(slots=True)
class Loaded:
    """What is held of one epoch of the store.

    revisions  the version in which each person last changed, usable or not
    foreign    ids of people of another model; `rejected` those whose record is not sound
    """

    stamp: Stamp
    gallery: Gallery
    revisions: dict[str, int] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    rejected: dict[str, RejectedValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """revisions: of the people who are new or changed."""

    revisions: dict[str, int]
    gone: Collection[str]


class GalleryReader:
    """Holds `loaded`; None until the store was read once."""

    def __init__(self, store: GalleryStore, model: ModelVersion, dimension: int) -> None:
        self._store = store
        self._empty = Gallery.empty(model, dimension)
        self.loaded: Loaded | None = None

    @property
    def gallery(self) -> Gallery:
        return self.loaded.gallery if self.loaded is not None else self._empty

    @property
    def has_people(self) -> bool:
        return self.loaded is not None and bool(self.loaded.revisions)

    async def latest(self) -> Gallery:
        """What the store has now. Raises CacheError."""
        return (await self.update(await self._store.stamp())).gallery

    async def update(self, stamp: Stamp) -> Loaded:
        """Read up to this stamp, and what came in meanwhile. Raises CacheError, and keeps what is loaded."""
        for _ in range(ATTEMPTS):
            loaded = await self._step(stamp)
            latest = await self._store.stamp()
            if latest == stamp:
                return loaded
            stamp = latest
        raise CacheError("the gallery changes faster than it can be read; it is read again")

    async def _step(self, stamp: Stamp) -> Loaded:
        held = self.loaded
        # A version that went back is a restored backup, whose revisions mean something else.
        if held is None or held.stamp.epoch != stamp.epoch or stamp.version < held.stamp.version:
            held = Loaded(stamp, self._empty)
        difference = await self._difference(held)
        blocks, foreign, rejected = await self._read(held.gallery, difference)
        # Of a million new people none has to be looked for among those held: work for the loop, kept small.
        gone = {*difference.gone, *(difference.revisions if held.revisions else ())}
        # Copying blocks of a large gallery takes longer than a frame may wait.
        gallery = await asyncio.to_thread(held.gallery.changed, gone, blocks)
        for face_id in gone:
            held.revisions.pop(face_id, None)
            held.rejected.pop(face_id, None)
        held.foreign.difference_update(gone)
        if held.revisions:
            held.revisions.update(difference.revisions)
        else:
            held.revisions = difference.revisions
        held.foreign.update(foreign)
        held.rejected.update(rejected)
        held.gallery, held.stamp = gallery, stamp
        self.loaded = held
        return held

    async def _difference(self, held: Loaded) -> Difference:
        logged = await self._store.changed_since(held.stamp.version) if held.revisions else None
        if logged is not None:
            now = await self._store.revisions(logged)
            gone = [face_id for face_id in logged if face_id not in now]
        else:
            now = await self._store.all_revisions()
            gone = [face_id for face_id in held.revisions if face_id not in now]
        if held.revisions:
            now = {i: r for i, r in now.items() if held.revisions.get(i) != r}
        return Difference(now, gone)

    async def _read(
        self, gallery: Gallery, difference: Difference
    ) -> tuple[list[Block], set[str], dict[str, RejectedValue]]:
        """Blocks of the people who changed, ids of those of another model, and the records that are not sound.

        The vectors go into blocks as they come, so that what is read is never held twice.
        """
        whole: list[Block] = []
        parts: list[Block] = []
        foreign: set[str] = set()
        rejected: dict[str, RejectedValue] = {}
        async for records in self._store.records(list(difference.revisions)):
            await asyncio.sleep(0)  # others first: each of the two steps takes a millisecond or two
            subjects = [person.subject() for person in records.people.values()]
            ours = [s.fits(gallery.model, gallery.dimension) for s in subjects]
            foreign.update(s.face_id for s, fits in zip(subjects, ours, strict=True) if not fits)
            rejected.update(records.rejected)
            if any(ours):
                parts.append(Block.of(list(compress(subjects, ours))))
            if sum(part.faces for part in parts) >= BLOCK_FACES:
                whole.append(await asyncio.to_thread(Block.joined, parts))
                parts = []
        return [*whole, *parts], foreign, rejected

"""The people who are enrolled, held in memory and matched exactly, from one to a million."""

import asyncio
import hashlib
import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import GalleryMismatch
from orchestrator.identity import Candidate
from orchestrator.ports import ModelVersion
from orchestrator.recognition.gallery_block import Block, Probe, packed
from orchestrator.recognition.subject import Subject

BEST_FEW = 5
# Faces in one block: what is copied at a change (84 MB of 512-d), and searched in one call (about 1 ms).
BLOCK_FACES = 32_768
# Above it a search takes longer than the event loop may be held up (about 1 ms) and goes to a thread.
FACES_AT_ONCE = 20_000
MEND = "enrol these people again with the model in use: `fess faces import DIR` or `fess faces enrol NAME IMAGE…`"


class Gallery:
    """Never changes; a change makes another, which shares all blocks that the change did not touch."""

    def __init__(self, model: ModelVersion, dimension: int, subjects: Iterable[Subject]) -> None:
        """Raises GalleryMismatch for a subject of another model or dimension."""
        kept = sorted((s for s in subjects if len(s.embeddings)), key=lambda s: s.face_id)
        strangers = [s.person_name for s in kept if not s.fits(model, dimension)]
        if strangers:
            raise GalleryMismatch(
                f"{len(strangers)} of {len(kept)} people ({', '.join(strangers[:3])}"
                f"{', …' if len(strangers) > 3 else ''}) were enrolled with another model than "
                f"{model.name} {model.version} ({dimension}-d); {MEND}"
            )
        self._adopt(model, dimension, blocks_of(kept), asyncio.Lock())

    @classmethod
    def empty(cls, model: ModelVersion, dimension: int) -> "Gallery":
        return cls(model, dimension, ())

    def _adopt(
        self, model: ModelVersion, dimension: int, blocks: Sequence[Block], turn: asyncio.Lock
    ) -> None:
        self.model = model
        self.dimension = dimension
        self._blocks = packed(blocks, BLOCK_FACES)
        self._people = sum(len(block.face_ids) for block in self._blocks)
        self.faces = sum(block.faces for block in self._blocks)
        self.version = _digest(model, dimension, self._blocks)
        self._turn = turn  # whose turn it is to search in a thread: never more than one core

    def changed(self, gone: Collection[str], come: Sequence[Block]) -> "Gallery":
        """Without the one and with the other; who changed is among both. `come` are `blocks_of` people who fit."""
        kept = [block.without(gone) for block in self._blocks]
        blocks = [*(block for block in kept if block is not None), *come]
        gallery = Gallery.__new__(Gallery)
        gallery._adopt(self.model, self.dimension, blocks, self._turn)
        return gallery

    def __len__(self) -> int:
        """How many people."""
        return self._people

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Everybody, by face id."""
        return tuple(
            sorted(
                (
                    block.subject(place, self.model.sha256)
                    for block in self._blocks
                    for place in range(len(block.face_ids))
                ),
                key=lambda subject: subject.face_id,
            )
        )

    def subject(self, face_id: str) -> Subject | None:
        for block in self._blocks:
            place = block.places.get(face_id)
            if place is not None:
                return block.subject(place, self.model.sha256)
        return None

    def match(self, probe: NDArray[np.float32], best: int = BEST_FEW) -> tuple[Candidate, ...]:
        """The people most alike, best first; a person is as alike as their most alike picture.

        Exactly those whom comparing everybody in full would give, with the same similarities to the bit. Equal
        similarities go by face_id, so that a replay meets the same order.

        Args:
            probe: float32 (d,), a finite unit vector.
            best: how many people at most.

        Raises:
            GalleryMismatch: the probe has another dimension.
        """
        if probe.shape != (self.dimension,):
            raise GalleryMismatch(
                f"a face of shape {probe.shape} cannot be compared with {self.dimension}-d faces; {MEND}"
            )
        asked = Probe.of(probe)
        ranked = [
            (-float(similarity), block.face_ids[place], block.names[place])
            for block, places in _promising(self._blocks, asked, best)
            for place, similarity in zip(places, block.compare(asked, places), strict=True)
        ]
        return tuple(
            Candidate(face_id, name, -negated)
            for negated, face_id, name in heapq.nsmallest(best, ranked)
        )

    async def match_each(self, probes: NDArray[np.float32]) -> list[tuple[Candidate, ...]]:
        """`match` for each row of float32 (n, d), in a thread where that would hold up the event loop."""
        if self.faces * len(probes) <= FACES_AT_ONCE:
            return [self.match(probe) for probe in probes]
        async with self._turn:
            return await asyncio.to_thread(lambda: [self.match(probe) for probe in probes])


class GallerySource(Protocol):
    """Whoever holds the gallery in force: `GalleryWatcher`, or `FixedGallery`."""

    @property
    def current(self) -> Gallery: ...


@dataclass(frozen=True, slots=True)
class FixedGallery:
    """A gallery that stays: a replay, a test."""

    current: Gallery


def blocks_of(subjects: Sequence[Subject]) -> list[Block]:
    """Blocks of no more than BLOCK_FACES, where no single person has more."""
    blocks: list[Block] = []
    first, faces = 0, 0
    for place, subject in enumerate(subjects):
        if faces and faces + len(subject.embeddings) > BLOCK_FACES:
            blocks.append(Block.of(subjects[first:place]))
            first, faces = place, 0
        faces += len(subject.embeddings)
    return [*blocks, Block.of(subjects[first:])] if faces else []


def _promising(
    blocks: Sequence[Block], probe: Probe, best: int
) -> list[tuple[Block, NDArray[np.intp]]]:
    """Everybody who could be among the best. All others are certainly less alike than `best` people are."""
    least = -np.inf  # so alike, at least, are `best` of the people met so far
    leaders: list[float] = []
    hopeful: list[tuple[Block, NDArray[np.intp], NDArray[np.float64]]] = []
    for block in blocks:
        alike, error = block.estimate(probe)
        places = np.flatnonzero(alike >= least - error)
        if not len(places):
            continue
        found = alike[places].astype(np.float64)
        leaders = heapq.nlargest(best, [*leaders, *(_largest(found, best) - error).tolist()])
        least = leaders[-1] if len(leaders) == best else -np.inf
        hopeful.append((block, places, found + error))
    kept = ((block, places[most >= least]) for block, places, most in hopeful)
    return [(block, places) for block, places in kept if len(places)]


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return np.partition(values, -count)[-count:] if count < len(values) else values


def _digest(model: ModelVersion, dimension: int, blocks: Sequence[Block]) -> str:
    """A hash of all that decides a match: the same people give the same version in every process.

    A sum over the people, so that neither their order nor what they were before plays a part.
    """
    total = np.zeros(4, np.uint64)
    for block in blocks:
        total += block.digests.sum(axis=0, dtype=np.uint64)
    people = sum(len(block.face_ids) for block in blocks)
    content = f"{model.sha256}/{dimension}/{people}/".encode() + total.astype("<u8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]

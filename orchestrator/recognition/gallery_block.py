"""Some thousands of people whose embeddings lie side by side, in full and in one byte a number.

A byte a number is a quarter of what has to be read from memory, which is what a search waits for. The bytes say how
alike a face is to within a bound that is known for each block; only people who could be among the best by that bound
are compared in full. So nobody is overlooked, and no similarity is an estimate.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

import numpy as np
import simsimd
from numpy.typing import NDArray

from orchestrator.recognition.subject import Subject

LEVELS = 127.0  # of an int8, either side of zero
CODED_AT_ONCE = 4096  # rows; bounds the room that coding takes beside its result


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face asked about, in full and coded.

    embedding  float32 (d,)
    codes      int8 (1, d); times `scale` it is the embedding to within `error` (Euclidean distance)
    """

    embedding: NDArray[np.float32]
    codes: NDArray[np.int8]
    scale: float
    error: float
    length: float

    @classmethod
    def of(cls, embedding: NDArray[np.float32]) -> Self:
        codes, scales, errors = _coded(embedding[None])
        length = float(np.linalg.norm(embedding))
        return cls(embedding, codes, float(scales[0]), float(errors[0]), length)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Never changes. Columns: one entry a person in the first five, one a picture in the last three.

    starts   int64 (people + 1,)  the pictures of person i are rows starts[i] to starts[i + 1]
    digests  uint64 (people, 4)   of each person's content
    places   face id -> i
    matrix   float32 (n, d)       the embeddings
    codes    int8 (n, d)          the same, a byte a number
    scales   float32 (n,)         what a code is multiplied by
    error    the largest distance between an embedding and its coded form; `longest` the greatest length
    """

    face_ids: tuple[str, ...]
    names: tuple[str, ...]
    authorized: tuple[bool, ...]
    starts: NDArray[np.int64]
    digests: NDArray[np.uint64]
    places: Mapping[str, int]
    matrix: NDArray[np.float32]
    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    error: float
    longest: float

    def __post_init__(self) -> None:
        for column in (self.starts, self.digests, self.matrix, self.codes, self.scales):
            column.flags.writeable = False

    @classmethod
    def of(cls, subjects: Sequence[Subject]) -> Self:
        """Of at least one person, each with at least one picture, all of one model."""
        matrix = np.concatenate([subject.embeddings for subject in subjects])
        codes, scales, errors = _coded(matrix)
        digests = b"".join(subject.digest() for subject in subjects)
        face_ids = tuple(subject.face_id for subject in subjects)
        counts = [len(subject.embeddings) for subject in subjects]
        return cls(
            face_ids,
            tuple(subject.person_name for subject in subjects),
            tuple(subject.is_authorized for subject in subjects),
            np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            np.frombuffer(digests, "<u8").reshape(-1, 4),
            dict(zip(face_ids, range(len(face_ids)), strict=True)),
            matrix,
            codes,
            scales,
            float(errors.max()),
            float(np.linalg.norm(matrix, axis=1).max()),
        )

    @classmethod
    def joined(cls, blocks: "Sequence[Block]") -> "Block":
        """One block of several. Only copies, which hold up other threads for a millisecond or two."""
        if len(blocks) == 1:
            return blocks[0]
        face_ids = tuple(chain.from_iterable(block.face_ids for block in blocks))
        offsets = np.cumsum([0] + [block.faces for block in blocks])
        starts = [
            block.starts[:-1] + offset for block, offset in zip(blocks, offsets, strict=False)
        ]
        return cls(
            face_ids,
            tuple(chain.from_iterable(block.names for block in blocks)),
            tuple(chain.from_iterable(block.authorized for block in blocks)),
            np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
            np.concatenate([block.digests for block in blocks]),
            dict(zip(face_ids, range(len(face_ids)), strict=True)),
            np.concatenate([block.matrix for block in blocks]),
            np.concatenate([block.codes for block in blocks]),
            np.concatenate([block.scales for block in blocks]),
            max(block.error for block in blocks),
            max(block.longest for block in blocks),
        )

    def without(self, face_ids: Collection[str]) -> "Block | None":
        """The others, copied: nothing of who has left stays in memory. None if nobody is left."""
        gone = sorted({self.places[i] for i in face_ids if i in self.places})
        if not gone:
            return self
        bounds = [-1, *gone, len(self.face_ids)]
        kept = [self._part(a + 1, b) for a, b in pairwise(bounds) if a + 1 < b]
        if not kept:
            return None
        # A single part would still be a view into the whole.
        return Block.joined(kept if len(kept) > 1 else [kept[0], kept[0]._part(0, 0)])

    @property
    def faces(self) -> int:
        return len(self.matrix)

    def subject(self, place: int, model_sha256: str) -> Subject:
        rows = slice(self.starts[place], self.starts[place + 1])
        name, authorized = self.names[place], self.authorized[place]
        return Subject(self.face_ids[place], name, authorized, self.matrix[rows], model_sha256)

    def estimate(self, probe: Probe) -> tuple[NDArray[np.float32], float]:
        """How alike each person is, and how far from that the truth may be."""
        dots = simsimd.cdist(probe.codes, self.codes, metric="dot", out_dtype="float32")
        alike = np.asarray(dots)[0] * self.scales
        alike *= np.float32(probe.scale)
        # <x, q> - <x', q'> = <x - x', q> + <x', q - q'>, each at most the product of the lengths (Cauchy-Schwarz).
        coding = self.error * probe.length + (self.longest + self.error) * probe.error
        rounding = 2.0 * (len(probe.embedding) + 8) * 2.0**-24 * self.longest * probe.length
        return np.maximum.reduceat(alike, self.starts[:-1]), coding + rounding

    def compare(self, probe: Probe, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """How alike these people are, in full; a person is as alike as their most alike picture."""
        begins, ends = self.starts[places], self.starts[places + 1]
        rows = _ranges(begins, ends)
        # One dot product a row, not a threaded matrix product: on cores that decode video its threads wait for each
        # other, and the bits would depend on how many there are.
        alike: NDArray[np.float32] = np.vecdot(self.matrix[rows], probe.embedding)
        counts = ends - begins
        best: NDArray[np.float32] = np.maximum.reduceat(alike, np.cumsum(counts) - counts)
        return best

    def _part(self, first: int, last: int) -> "Block":
        """People `first` to `last`, as views."""
        rows = slice(self.starts[first], self.starts[last])
        return Block(
            self.face_ids[first:last],
            self.names[first:last],
            self.authorized[first:last],
            self.starts[first : last + 1] - self.starts[first],
            self.digests[first:last],
            {},
            self.matrix[rows],
            self.codes[rows],
            self.scales[rows],
            self.error,
            self.longest,
        )


def packed(blocks: Iterable[Block], faces: int) -> tuple[Block, ...]:
    """Neighbours that hold no more than so many faces together become one."""
    run: list[Block] = []
    done: list[Block] = []
    for block in blocks:
        if run and sum(each.faces for each in run) + block.faces > faces:
            done.append(Block.joined(run))
            run = []
        run.append(block)
    return (*done, Block.joined(run)) if run else ()


def _coded(
    embeddings: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Rows as bytes, what to multiply each by, and how far each then is from what it was."""
    codes = np.empty(embeddings.shape, np.int8)
    scales = np.empty(len(embeddings), np.float32)
    errors = np.empty(len(embeddings), np.float32)
    for begin in range(0, len(embeddings), CODED_AT_ONCE):
        part = slice(begin, begin + CODED_AT_ONCE)
        rows = embeddings[part]
        scale = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-12)) / np.float32(LEVELS)
        whole = np.rint(rows / scale[:, None])
        codes[part], scales[part] = whole, scale
        errors[part] = np.linalg.norm(rows - whole * scale[:, None], axis=1)
    return codes, scales, errors


def _ranges(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """begins[0]..ends[0], begins[1]..ends[1] and so on, in one row."""
    counts = ends - begins
    shifts = np.repeat(begins - (np.cumsum(counts) - counts), counts)
    rows: NDArray[np.int64] = np.arange(counts.sum(), dtype=np.int64) + shifts
    return rows

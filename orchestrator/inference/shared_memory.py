"""A piece of memory that Triton maps too, cut into slots of one request each."""

import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Where glibc's shm_open, which Triton calls, looks for a name.
FOLDER = Path("/dev/shm")
ALIGNED_BYTES = 64
PAGE_BYTES = mmap.PAGESIZE


class Region:
    """Slots of equal size. A slot is handed out again only after it was given back.

    name  under /dev/shm, and at Triton
    """

    def __init__(self, name: str, slot_bytes: int, count: int) -> None:
        """Make the memory. Raises OSError, also where /dev/shm has no room: a write beyond it would kill us."""
        self.name = name
        self.slot_bytes = _rounded(slot_bytes, PAGE_BYTES)
        self.count = count
        self._free = list(range(count))
        self._lost = 0
        # For this user only: pictures are private.
        file = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self.total_bytes)
            self._memory = mmap.mmap(file, self.total_bytes)
        except OSError:
            self.unlink()
            raise
        finally:
            os.close(file)

    @property
    def total_bytes(self) -> int:
        return self.slot_bytes * self.count

    @property
    def worn(self) -> bool:
        """Half of its slots will never be free again."""
        return self._lost * 2 >= self.count

    def unlink(self) -> None:
        """Take the name away. Whoever has mapped it keeps it; nothing is left when all of them are gone."""
        (FOLDER / self.name).unlink(missing_ok=True)

    def take(self) -> "Slot | None":
        """A slot nobody reads, or None when there is none. The one given back last: it is still in the caches."""
        return Slot(self, self._free.pop(), self._memory) if self._free else None

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def lose(self) -> None:
        self._lost += 1


class Slot:
    """Room for the tensors of one request. Whoever took it gives it back, or loses it."""

    def __init__(self, region: Region, number: int, memory: mmap.mmap) -> None:
        self._region = region
        self._number = number
        self._memory = memory

    @property
    def region(self) -> str:
        return self._region.name

    def put(self, tensors: Sequence[Array]) -> tuple[int, ...]:
        """Copy the tensors in, contiguous, one after the other; where each begins in the region."""
        places = []
        place = self._number * self._region.slot_bytes
        for tensor in tensors:
            room: Array = np.ndarray(tensor.shape, tensor.dtype, self._memory, place)
            np.copyto(room, tensor)
            places.append(place)
            place += _rounded(tensor.nbytes, ALIGNED_BYTES)
        return tuple(places)

    def give_back(self) -> None:
        """Nobody reads it any more."""
        self._region.give_back(self._number)

    def lose(self) -> None:
        """Nobody can tell whether it is still read: it is never used again."""
        self._region.lose()


def room_for(tensors: Iterable[Array]) -> int:
    """Bytes of a slot that holds them."""
    return sum(_rounded(tensor.nbytes, ALIGNED_BYTES) for tensor in tensors)


def _rounded(size: int, to: int) -> int:
    return -(-size // to) * to

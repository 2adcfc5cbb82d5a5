"""Pictures as clients send them to a detector, kept in files: a column for each input, and the way back of each row."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.coco import Scales, scale_of
from export.steps import digest_of_text
from export.transfer import digest_of
from orchestrator.errors import ModelError
from orchestrator.inference.letterbox import Placement
from orchestrator.inference.pixels import Tensors, planar, rgb
from orchestrator.picture import Picture

Form = Literal["rgb", "planes"]
"""Both in the network's size. A graph that takes pictures as they were decoded takes such as well."""
FORMS: dict[Form, tuple[tuple[str, ...], Callable[[Picture, int], tuple[Tensors, Placement]]]] = {
    "rgb": (("images",), rgb),
    "planes": (("luma", "chroma", "colour"), planar),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One set of pictures in one form."""

    folder: Path
    name: str
    form: Form

    def file(self, column: str) -> Path:
        return self.folder / f"{self.name}.{self.form}.{column}.npy"

    @property
    def files(self) -> list[Path]:
        inputs, _ = FORMS[self.form]
        return [self.file(column) for column in (*inputs, "scales")]

    def shown(self, picture: Picture, size: int) -> tuple[Tensors, Placement]:
        """As a client of such a network would send it."""
        _, form = FORMS[self.form]
        return form(picture, size)

    def write(self, rows: Iterable[tuple[Tensors, Placement]], count: int) -> None:
        """Row by row, for all of them may be more than fits into memory. Raises ModelError."""
        scales = np.empty((count, 4))
        columns: dict[str, np.memmap] = {}
        try:
            for place, (tensors, placement) in enumerate(rows):
                columns = columns or {
                    name: _column(self.file(name), row, count) for name, row in tensors.items()
                }
                for name, row in tensors.items():
                    columns[name][place] = row[0]
                scales[place] = scale_of(placement)
            for column in columns.values():
                column.flush()
            np.save(self.file("scales"), scales)
        except OSError as error:
            raise ModelError(f"{self.folder}: cannot be written: {error.strerror}") from error

    def tensors(self) -> Tensors:
        """By the names of the inputs; read from the files as needed."""
        inputs, _ = FORMS[self.form]
        return {
            name: np.load(self.file(name), mmap_mode="r", allow_pickle=False) for name in inputs
        }

    def digest(self) -> str:
        return digest_of_text(*(digest_of(file) for file in self.files))

    def scales(self) -> Scales:
        scales: Scales = np.load(self.file("scales"), allow_pickle=False)
        return scales


def _column(file: Path, row: NDArray[np.generic], count: int) -> np.memmap:
    """A file for so many rows, with its room on the disk: a full one would end us with SIGBUS at some row."""
    column = np.lib.format.open_memmap(file, "w+", row.dtype, (count, *row.shape[1:]))
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return column

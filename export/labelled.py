"""Pictures that somebody has labelled, as COCO's annotation files have them: the ground truth that AP is measured on.

Every mistake in such a file is named with its place and its mend, for a wrong file gives a wrong figure and no error.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from export.coco import Scales, annotation
from export.frames import picture_of
from export.steps import digest_of_text, stamp
from export.transfer import digest_of
from orchestrator.errors import ModelError
from orchestrator.picture import Picture

# Fewer boxes than this prove nothing: one of them would be several points of AP.
LEAST_BOXES = 20
SHOWN = 5


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Image(_Entry):
    """width, height: of the file, in pixels; compared with it where they are given."""

    id: int
    file_name: str = Field(min_length=1)
    width: int | None = None
    height: int | None = None


class Category(_Entry):
    id: int
    name: str


class Box(_Entry):
    """bbox: left, top, width, height in pixels of the picture. iscrowd: several objects, not counted either way."""

    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    iscrowd: Literal[0, 1] = 0


class _File(_Entry):
    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file of annotations that is whole, and where its pictures are."""

    path: Path
    folder: Path
    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    boxes: tuple[Box, ...]

    @classmethod
    def read(cls, path: Path, folder: Path | None = None) -> Self:
        """Raises ModelError for the first mistake in the file.

        Args:
            path: annotations in COCO's format.
            folder: of the pictures; None: the folder of the file.
        """
        found = _parsed(path)
        self = cls(
            path,
            folder or path.parent,
            tuple(sorted(found.images, key=lambda image: image.id)),
            found.categories,
            found.annotations,
        )
        self._check_names()
        self._check_boxes()
        return self

    def stamp(self) -> str:
        """What tells this set from another: every annotation, and size and date of every picture."""
        files = [stamp(self.folder / image.file_name) for image in self.images]
        return digest_of_text(digest_of(self.path), *files)

    def classes(self, labels: Sequence[str]) -> dict[int, int]:
        """Category of the file for each class of a network that it labels.

        Raises:
            ModelError: a category that has boxes is none of the labels.
        """
        used = {box.category_id for box in self.boxes}
        strangers = [c.name for c in self.categories if c.id in used and c.name not in labels]
        if strangers:
            raise ModelError(
                f"{self.path}: labels {_few(strangers)}, which the model does not know; it knows {_few(labels)}. "
                "Name the categories as the model's labels (LABELS), or delete their boxes"
            )
        return {labels.index(c.name): c.id for c in self.categories if c.name in labels}

    def pictures(self) -> Iterator[Picture]:
        """In the order of `images`.

        Raises:
            ModelError: a picture that is not the one that was labelled.
        """
        boxes: dict[int, list[int]] = defaultdict(list)
        for place, box in enumerate(self.boxes):
            boxes[box.image_id].append(place)
        for image in self.images:
            picture = picture_of(self.folder / image.file_name)
            given = (image.width or picture.width, image.height or picture.height)
            if given != (picture.width, picture.height):
                raise ModelError(
                    f"{self.path}: {image.file_name} was labelled at {given[0]} x {given[1]} pixels, the file has "
                    f"{picture.width} x {picture.height}: give the pictures that were labelled (IMAGES=folder)"
                )
            for place in boxes[image.id]:
                self._check_inside(place, image.file_name, picture.width, picture.height)
            yield picture

    def truth(self, scales: Scales) -> str:
        """The annotations as COCO's tool reads them, in JSON."""
        images = [
            {"id": image.id, "width": int(width), "height": int(height)}
            for image, (_, _, width, height) in zip(self.images, scales, strict=True)
        ]
        annotations = [
            annotation(place, box.image_id, box.category_id, box.bbox, box.iscrowd)
            for place, box in enumerate(self.boxes)
        ]
        categories = [category.model_dump() for category in self.categories]
        return json.dumps({"images": images, "categories": categories, "annotations": annotations})

    @property
    def counted(self) -> int:
        """Labelled objects that are no crowds."""
        return sum(not box.iscrowd for box in self.boxes)

    def _check_names(self) -> None:
        if not self.images:
            raise ModelError(f"{self.path}: names no pictures")
        for what, numbers in (
            ("pictures", [image.id for image in self.images]),
            ("categories", [category.id for category in self.categories]),
        ):
            twice = [number for number, count in Counter(numbers).items() if count > 1]
            if twice:
                raise ModelError(f"{self.path}: two {what} have the id {twice[0]}: ids must differ")
        names = Counter(category.name for category in self.categories)
        same = [name for name, count in names.items() if count > 1]
        if same:
            raise ModelError(f"{self.path}: two categories are called {same[0]!r}: make them one")
        missing = [i.file_name for i in self.images if not (self.folder / i.file_name).is_file()]
        if missing:
            raise ModelError(
                f"{self.path}: {len(missing)} of {len(self.images)} pictures are not in {self.folder} "
                f"({_few(missing)}): give their folder with IMAGES=folder"
            )

    def _check_boxes(self) -> None:
        images = {image.id for image in self.images}
        categories = {category.id for category in self.categories}
        for number, box in enumerate(self.boxes):
            where = f"{self.path}: annotations[{number}]"
            if box.image_id not in images:
                raise ModelError(f"{where}: no picture has the id {box.image_id}: delete the box")
            if box.category_id not in categories:
                raise ModelError(f"{where}: no category has the id {box.category_id}: name it")
            if box.bbox[2] <= 0 or box.bbox[3] <= 0:
                raise ModelError(
                    f"{where}: bbox {list(box.bbox)} has no width or height; it is left, top, width, height: mend it"
                )
        if self.counted < LEAST_BOXES:
            raise ModelError(
                f"{self.path}: labels {self.counted} objects, which proves nothing: "
                f"label at least {LEAST_BOXES}, better hundreds"
            )

    def _check_inside(self, place: int, name: str, width: int, height: int) -> None:
        left, top, wide, high = self.boxes[place].bbox
        if not (left < width and top < height and left + wide > 0 and top + high > 0):
            raise ModelError(
                f"{self.path}: annotations[{place}]: bbox {[left, top, wide, high]} is outside {name}, "
                f"which has {width} x {height} pixels: give pixels of the picture as it is, not parts of it"
            )


def _parsed(path: Path) -> _File:
    try:
        return _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"LABELLED={path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        raise ModelError(
            f"{path}: {place.lstrip('.') or 'the file'}: {first['msg']} ({error.error_count()} mistakes): "
            "it must be JSON in COCO's format, with images, categories and annotations"
        ) from error


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

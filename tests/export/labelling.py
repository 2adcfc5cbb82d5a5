"""Annotations in COCO's format for pictures of the clips, as somebody would have drawn them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.coco import scale_of
from export.detecting import by_served
from orchestrator.inference.letterbox import letterbox
from orchestrator.picture import ArrayPicture


def written(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def blank(folder: Path, count: int, side: int = 100) -> dict[str, Any]:
    """A set of grey squares with one box of 40 x 40 pixels each."""
    for number in range(count):
        Image.new("RGB", (side, side), (99, 99, 99)).save(folder / f"{number}.png")
    return {
        "images": [{"id": 7 + number, "file_name": f"{number}.png"} for number in range(count)],
        "categories": [{"id": 3, "name": "person"}],
        "annotations": [
            {"id": number, "image_id": 7 + number, "category_id": 3, "bbox": [10, 20, 40, 40]}
            for number in range(count)
        ],
    }


def seen_by(
    model: Path, pictures: Sequence[NDArray[np.uint8]], folder: Path, *, copies: int = 1
) -> dict[str, Any]:
    """People as the model itself sees them, from a score of 0.5, in pixels of the pictures.

    Args:
        model: a prepared object detector of 320 pixels.
        pictures: uint8 (h, w, 3), RGB.
        folder: gets the pictures as files.
        copies: how many files of each picture.
    """
    images, annotations = [], []
    boxed = [letterbox(ArrayPicture(picture), 320) for picture in pictures]
    found = by_served(model, np.stack([each.image for each in boxed]))
    for number in range(len(pictures) * copies):
        picture, rows = pictures[number // copies], found[number // copies]
        Image.fromarray(picture).save(folder / f"{number:03}.png")
        height, width = picture.shape[:2]
        images.append(
            {"id": number, "file_name": f"{number:03}.png", "width": width, "height": height}
        )
        across, down, *_ = scale_of(boxed[number // copies])
        for (left, top, right, bottom), score in zip(
            rows.boxes.tolist(), rows.scores.tolist(), strict=True
        ):
            if score >= 0.5:
                box = [left / across, top / down, (right - left) / across, (bottom - top) / down]
                annotations.append({"image_id": number, "category_id": 1, "bbox": box})
    return {
        "images": images,
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }

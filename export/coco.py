"""Rows of a detector in the two forms that COCO's tool reads: as its results, and as a truth to compare others with."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from export.parity import Rows
from orchestrator.inference.letterbox import Placement

# float64 (n, 4): `scale_of` each picture.
Scales = NDArray[np.float64]


def scale_of(picture: Placement) -> tuple[float, float, float, float]:
    """The way back from a network input: its pixels a source pixel, across and down; width and height of the source."""
    return (*picture.scale, float(picture.width), float(picture.height))


def as_they_are(count: int, size: int) -> Scales:
    """For rows that stay in pixels of the network's input."""
    return np.tile(np.array([1.0, 1.0, size, size]), (count, 1))


def results(
    found: Sequence[Rows], images: Sequence[int], scales: Scales, classes: Mapping[int, int]
) -> str:
    """JSON of all rows. Classes without a category are left out: nobody can say whether they are right.

    Args:
        found: rows of each picture.
        images: number of each picture in the truth.
        scales: the way back from each network input.
        classes: category in the truth of each class.
    """
    rows = [
        {"image_id": image, "category_id": classes[label], "bbox": bbox, "score": score}
        for image, each, scale in zip(images, found, scales, strict=True)
        for bbox, score, label in zip(
            _boxes(each, scale), each.scores.tolist(), each.labels.tolist(), strict=True
        )
        if label in classes
    ]
    return json.dumps(rows)


def truth(found: Sequence[Rows], least_score: float, size: int) -> tuple[str, int]:
    """JSON of the rows from that score on, as objects to be found again, and how many they are.

    Picture i has the number i, class c the category c, boxes are in pixels of the network's input.
    """
    annotations: list[dict[str, object]] = []
    labels = sorted({int(label) for each in found for label in each.labels})
    for image, each in enumerate(found):
        boxes = _boxes(each, np.array([1.0, 1.0, size, size]))
        for bbox, score, label in zip(
            boxes, each.scores.tolist(), each.labels.tolist(), strict=True
        ):
            if score >= least_score:
                annotations.append(annotation(len(annotations), image, label, bbox))
    content = {
        "images": [{"id": image, "width": size, "height": size} for image in range(len(found))],
        "categories": [{"id": label, "name": str(label)} for label in labels],
        "annotations": annotations,
    }
    return json.dumps(content), len(annotations)


def annotation(
    place: int, image: int, category: int, bbox: Sequence[float], crowd: int = 0
) -> dict[str, object]:
    return {
        "id": place + 1,  # COCO's tool takes a match with number 0 for none
        "image_id": image,
        "category_id": category,
        "bbox": list(bbox),
        "area": bbox[2] * bbox[3],
        "iscrowd": crowd,
    }


def in_source(rows: Rows, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (n, 2, 2) in the source picture, not beyond its edges."""
    return (rows.boxes.astype(np.float64).reshape(-1, 2, 2) / scale[:2]).clip(0, scale[2:])


def _boxes(rows: Rows, scale: NDArray[np.float64]) -> list[list[float]]:
    """Left, top, width, height in the source picture."""
    corners = in_source(rows, scale)
    boxes: list[list[float]] = np.concatenate(
        [corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1
    ).tolist()
    return boxes

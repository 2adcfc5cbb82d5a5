"""Annotations in COCO's format for pictures of the clips: drawn by eye, or as a model sees them.

labels/one_by_one.json is ours, under the project's licence: 69 people in 76 frames of one-by-one-person-detection.mp4
(Intel, sample-videos, CC BY 4.0). frame-0123.png is frame 123 of the clip, counted from 0. The boxes were drawn by eye
on enlarged frames, around what is to be seen of each person, and drawn over the frames again to check them, before any
detector was run. No frames are kept here: `python -m tests.export.labelling CLIPS FOLDER` takes them out of the clip.
"""

import contextlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export import coco
from export.accuracy import Figures
from export.coco import scale_of
from export.detecting import by_served
from export.labelled import Labelled
from export.mmdeploy.average_precision import evaluate
from export.parity import Rows
from orchestrator.inference.letterbox import letterbox
from orchestrator.picture import ArrayPicture
from tests.export.footage import PEOPLE_CLIP
from tests.export.footage import pictures as frames_of

BY_EYE = Path(__file__).parent / "labels" / "one_by_one.json"


def extracted(clips: Path, folder: Path) -> Path:
    """The pictures of BY_EYE, as files in that folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [image["file_name"] for image in json.loads(BY_EYE.read_text())["images"]]
    numbers = [int(Path(name).stem.removeprefix("frame-")) for name in names]
    for name, frame in zip(names, frames_of(clips / PEOPLE_CLIP, numbers), strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


def judged(
    labelled: Labelled,
    rows: Sequence[Rows],
    scales: coco.Scales,
    classes: Mapping[int, int],
    folder: Path,
) -> Figures:
    """What those rows of all pictures are worth; the folder gets the files that COCO's tool reads."""
    images = [image.id for image in labelled.images]
    (folder / "truth.json").write_text(labelled.truth(scales))
    (folder / "rows.json").write_text(coco.results(rows, images, scales, classes))
    job = {"truth": str(folder / "truth.json"), "detections": {"it": str(folder / "rows.json")}}
    with contextlib.redirect_stdout(io.StringIO()):
        return Figures.model_validate(evaluate(job)["figures"]["it"])


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


if __name__ == "__main__":
    extracted(Path(sys.argv[1]), Path(sys.argv[2]))

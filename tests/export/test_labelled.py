"""Labelled pictures: a file in COCO's format is taken as it is, and every mistake in it is named with its mend."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.coco import scale_of
from export.labelled import Labelled
from orchestrator.errors import ModelError
from orchestrator.inference.letterbox import letterbox
from tests.export.labelling import blank, written

LABELS = ("car", "person")


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    return blank(tmp_path, 20)


def refused(content: dict[str, Any], folder: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        list(Labelled.read(written(content, folder)).pictures())


def test_a_set_is_read_and_its_categories_are_the_models_classes(
    content: dict[str, Any], tmp_path: Path
) -> None:
    labelled = Labelled.read(written(content, tmp_path))
    assert (len(labelled.images), labelled.counted) == (20, 20)
    assert labelled.classes(LABELS) == {1: 3}
    boxed = [letterbox(picture, 64) for picture in labelled.pictures()]
    truth = json.loads(labelled.truth(np.array([scale_of(each) for each in boxed])))
    assert truth["images"][0] == {"id": 7, "width": 100, "height": 100}
    assert truth["annotations"][0]["bbox"] == [10, 20, 40, 40]
    assert truth["annotations"][0]["area"] == 1600


def test_pictures_may_lie_elsewhere(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = written(content, tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"20 of 20 pictures are not in .*IMAGES=folder"):
        Labelled.read(path)
    assert len(list(Labelled.read(path, tmp_path).pictures())) == 20


def test_a_picture_without_boxes_belongs_to_the_set(
    content: dict[str, Any], tmp_path: Path
) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "empty.png")
    content["images"].append({"id": 99, "file_name": "empty.png"})
    assert len(list(Labelled.read(written(content, tmp_path)).pictures())) == 21


def test_a_category_that_nothing_is_labelled_with_need_not_be_known(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["categories"].append({"id": 8, "name": "giraffe"})
    assert Labelled.read(written(content, tmp_path)).classes(LABELS) == {1: 3}


def test_a_category_that_the_model_does_not_know_is_told_with_those_it_knows(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["categories"][0]["name"] = "Person"
    labelled = Labelled.read(written(content, tmp_path))
    with pytest.raises(ModelError, match=r"labels Person.*it knows car, person\. Name the"):
        labelled.classes(LABELS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file: Invalid JSON"),
        ("[]", "the file: .*COCO's format"),
        ('{"images": [], "categories": []}', r"annotations: Field required .*COCO's format"),
        ('{"images": [], "categories": [], "annotations": []}', "names no pictures"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(ModelError, match=reason):
        Labelled.read(tmp_path / "annotations.json")


def test_a_file_that_is_not_there_is_told_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"LABELLED=.*nowhere\.json: cannot be read"):
        Labelled.read(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ([math.nan, 0, 1, 1], r"annotations\[4\]\.bbox\[0\]: Input should be a finite number"),
        ([0, math.inf, 1, 1], r"annotations\[4\]\.bbox\[1\]: Input should be a finite number"),
        ([0, 0, 1], r"annotations\[4\]\.bbox\[3\]: Field required"),
        ([10, 20, 0, 40], r"annotations\[4\]: bbox .* has no width or height"),
        ([50, 60, -40, -40], r"annotations\[4\]: bbox .* has no width or height"),
        ([100, 20, 40, 40], r"annotations\[4\]: bbox .* is outside 4\.png, which has 100 x 100"),
        ([-50, 20, 40, 40], r"annotations\[4\]: bbox .* is outside 4\.png"),
    ],
)
def test_a_box_that_cannot_be_is_named(
    content: dict[str, Any], tmp_path: Path, bbox: list[float], reason: str
) -> None:
    content["annotations"][4]["bbox"] = bbox
    refused(content, tmp_path, reason)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("image_id", 1000, r"annotations\[4\]: no picture has the id 1000"),
        ("category_id", 1000, r"annotations\[4\]: no category has the id 1000"),
        ("image_id", "seven", r"annotations\[4\]\.image_id: Input should be a valid integer"),
        ("iscrowd", 2, r"annotations\[4\]\.iscrowd: Input should be 0 or 1"),
    ],
)
def test_a_wrong_number_is_named(
    content: dict[str, Any], tmp_path: Path, field: str, value: object, reason: str
) -> None:
    content["annotations"][4][field] = value
    refused(content, tmp_path, reason)


def test_numbers_and_names_differ(content: dict[str, Any], tmp_path: Path) -> None:
    content["categories"].append({"id": 4, "name": "person"})
    refused(content, tmp_path, "two categories are called 'person'")
    content["categories"][1]["id"] = 3
    refused(content, tmp_path, "two categories have the id 3")
    content["images"][1]["id"] = 7
    refused(content, tmp_path, "two pictures have the id 7")


def test_a_picture_of_another_size_than_was_labelled_is_refused(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["images"][2] |= {"width": 200, "height": 100}
    refused(content, tmp_path, r"2\.png was labelled at 200 x 100 pixels, the file has 100 x 100")


def test_what_is_no_picture_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes(b"no picture")
    refused(content, tmp_path, r"2\.png: is no photograph")


def test_too_few_boxes_prove_nothing_and_crowds_do_not_count(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["annotations"][4]["iscrowd"] = 1
    refused(content, tmp_path, "labels 19 objects, which proves nothing")
    content["annotations"] = []
    refused(content, tmp_path, "labels 0 objects")


def test_another_picture_or_another_box_is_another_set(
    content: dict[str, Any], tmp_path: Path
) -> None:
    before = Labelled.read(written(content, tmp_path)).stamp()
    assert Labelled.read(written(content, tmp_path)).stamp() == before
    content["annotations"][0]["bbox"] = [10, 20, 40, 41]
    other = Labelled.read(written(content, tmp_path)).stamp()
    Image.new("RGB", (100, 100)).save(tmp_path / "0.png", compress_level=0)
    assert len({before, other, Labelled.read(written(content, tmp_path)).stamp()}) == 3

"""Regions: where a person's face is looked for, and whose face was found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.face import Faces
from orchestrator.recognition.regions import assign, head_region, merge
from tests.recognition.footage import person


def faces(*boxes: tuple[float, float, float, float], confidence: float = 0.9) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros((n, 5, 2), np.float32),
        np.full(n, confidence, np.float32),
    )


def box(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([x1, y1, x2, y2], np.float32)


def test_a_standing_person_is_looked_at_in_the_upper_part() -> None:
    x1, y1, x2, y2 = head_region(box(400, 200, 500, 500), 1920, 1080)
    assert (x1, y1, x2) == (390, 190, 510)
    assert y2 == 330


def test_a_person_who_fills_the_picture_is_looked_at_wholly() -> None:
    assert head_region(box(0, 0, 640, 480), 640, 480) == (0, 0, 640, 480)


def test_a_head_that_stands_out_of_its_box_is_still_inside_the_region() -> None:
    assert head_region(box(400, 200, 500, 500), 1920, 1080)[1] < 200


corners = st.floats(-5000, 5000, width=32)


@given(corners, corners, corners, corners)
def test_a_region_never_leaves_the_picture(x1: float, y1: float, x2: float, y2: float) -> None:
    left, top, right, bottom = head_region(box(x1, y1, x2, y2), 640, 480)
    assert 0 <= left <= 640
    assert 0 <= right <= 640
    assert 0 <= top <= 480
    assert 0 <= bottom <= 480


def test_a_face_seen_in_two_regions_counts_once_and_the_best_is_kept() -> None:
    found = merge(
        [
            faces((100, 100, 140, 150), confidence=0.8),
            faces((101, 99, 141, 151), (300, 100, 340, 150)),
        ]
    )
    assert len(found) == 2
    assert found.confidence[0] == pytest.approx(0.9)
    assert len(merge([])) == 0


def test_the_only_person_owns_the_only_face() -> None:
    owners = assign(faces((60, 20, 100, 70)), [person(1, 40, 10, 120, 300)])
    assert owners.face_of == {1: 0}


def test_a_face_inside_two_boxes_goes_to_the_one_under_whose_top_it_sits() -> None:
    front = person(1, 100, 200, 260, 700)
    behind = person(2, 180, 60, 320, 600)
    head_behind = (230, 70, 270, 120)
    head_front = (160, 210, 205, 265)
    owners = assign(faces(head_front, head_behind), [front, behind])
    assert owners.face_of == {1: 0, 2: 1}


def test_the_overlapped_persons_face_does_not_name_the_one_who_is_turned_away() -> None:
    front = person(1, 100, 200, 260, 700)
    behind = person(2, 180, 60, 320, 600)
    owners = assign(faces((230, 70, 270, 120)), [front, behind])
    assert owners.face_of == {2: 0}


def test_a_face_that_could_be_either_persons_names_nobody() -> None:
    twins = [person(1, 100, 100, 200, 400), person(2, 104, 101, 204, 400)]
    owners = assign(faces((132, 110, 172, 160)), twins)
    assert owners.face_of == {}
    assert owners.ambiguous == (0,)


def test_one_person_gets_one_face_the_nearest() -> None:
    owners = assign(
        faces((180, 210, 220, 260), (132, 110, 172, 160)), [person(1, 100, 100, 220, 400)]
    )
    assert owners.face_of == {1: 1}


@pytest.mark.parametrize(
    "outside",
    [(300, 110, 340, 160), (130, 20, 170, 70), (130, 360, 160, 395), (0, 90, 300, 400)],
    ids=["beside", "above", "at the feet", "larger than the person"],
)
def test_a_face_that_cannot_be_the_persons_is_left_alone(
    outside: tuple[float, float, float, float],
) -> None:
    assert assign(faces(outside), [person(1, 100, 100, 200, 400)]).face_of == {}


boxes = st.lists(
    st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(1, 200), st.floats(1, 300)),
    max_size=6,
)


@given(boxes, boxes)
def test_no_face_is_ever_given_twice(
    face_boxes: list[tuple[float, float, float, float]],
    person_boxes: list[tuple[float, float, float, float]],
) -> None:
    found = faces(*((x, y, x + w, y + h) for x, y, w, h in face_boxes))
    people = [person(i, x, y, x + w, y + h) for i, (x, y, w, h) in enumerate(person_boxes)]
    owners = assign(found, people)
    assert len(set(owners.face_of.values())) == len(owners.face_of)
    assert not set(owners.face_of.values()) & set(owners.ambiguous)

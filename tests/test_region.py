"""Regions and masks are polygons in fractions of the picture; the even-odd rule says what is inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.camera import Point
from orchestrator.detection import Detections
from orchestrator.region import in_regions, inside, rasterise

WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RIGHT_HALF = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
# Concave: a U that is open at the top.
U = ((0.1, 0.1), (0.3, 0.1), (0.3, 0.7), (0.7, 0.7), (0.7, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
# Drawn in one stroke; its heart is wound around twice.
STAR = ((0.5, 0.0), (0.8, 1.0), (0.0, 0.4), (1.0, 0.4), (0.2, 1.0))

fractions = st.floats(0.0, 1.0, allow_subnormal=False)
points = st.tuples(fractions, fractions)
polygons = st.lists(points, min_size=3, max_size=8).map(tuple)


def at(*where: Point) -> np.ndarray:
    return np.array(where, np.float64)


def standing(x: float, y: float, width: float = 40, height: float = 100) -> Detections:
    """One person whose feet are at (x, y) in pixels."""
    box = np.array([[x - width / 2, y - height, x + width / 2, y]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([0], np.int32))


def test_a_point_is_inside_a_concave_polygon_only_where_the_polygon_is() -> None:
    assert inside(at((0.2, 0.5), (0.5, 0.5), (0.5, 0.8), (0.95, 0.5)), [U]).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_the_heart_of_a_star_is_outside_for_the_rule_is_even_odd() -> None:
    assert inside(at((0.5, 0.2), (0.5, 0.5)), [STAR]).tolist() == [True, False]


def test_a_point_in_any_of_several_polygons_is_inside() -> None:
    assert inside(at((0.2, 0.5), (0.8, 0.5)), [LEFT_HALF, RIGHT_HALF]).all()


def test_no_polygons_hold_no_point() -> None:
    assert not inside(at((0.5, 0.5)), []).any()


def test_no_points_give_no_answers() -> None:
    assert inside(np.empty((0, 2)), [WHOLE]).shape == (0,)


@given(points)
def test_polygons_that_share_an_edge_never_both_claim_a_point(point: Point) -> None:
    both = inside(at(point), [LEFT_HALF]) & inside(at(point), [RIGHT_HALF])
    assert not both.any()


@given(polygons, st.lists(points, min_size=1, max_size=20), st.integers(0, 7), st.booleans())
def test_where_a_polygon_begins_and_which_way_it_turns_does_not_matter(
    polygon: tuple[Point, ...], where: list[Point], start: int, backwards: bool
) -> None:
    start %= len(polygon)
    same = polygon[start:] + polygon[:start]
    same = same[::-1] if backwards else same
    # Written from its other end an edge rounds differently; a hair's breadth from it is not asked.
    clear = [
        point for point in where if all(_distance(point, *edge) > 1e-9 for edge in _edges(polygon))
    ]
    asked = at(*clear).reshape(-1, 2)
    assert inside(asked, [polygon]).tolist() == inside(asked, [same]).tolist()


@given(polygons, st.integers(1, 12), st.integers(1, 12))
def test_a_pixel_is_painted_where_its_middle_is_inside(
    polygon: tuple[Point, ...], height: int, width: int
) -> None:
    painted = rasterise([polygon], height, width)
    middles = [((x + 0.5) / width, (y + 0.5) / height) for y in range(height) for x in range(width)]
    assert painted.shape == (height, width)
    assert painted.ravel().tolist() == inside(at(*middles), [polygon]).tolist()


def test_the_whole_picture_is_painted_to_its_last_pixel() -> None:
    assert rasterise([WHOLE], 7, 11).all()


def test_without_regions_every_detection_counts() -> None:
    assert len(in_regions(standing(600, 400), (), 640, 480)) == 1


@pytest.mark.parametrize(("x", "kept"), [(100, 1), (500, 0)])
def test_a_detection_counts_where_the_person_stands(x: float, kept: int) -> None:
    assert len(in_regions(standing(x, 300), [LEFT_HALF], 640, 480)) == kept


def test_a_head_that_leans_into_a_region_does_not_count() -> None:
    upper_half = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))
    assert len(in_regions(standing(320, 400, height=350), [upper_half], 640, 480)) == 0


@pytest.mark.parametrize("foot", [480.0, 481.5])
def test_somebody_cut_off_by_the_lower_edge_stands_in_a_region_that_reaches_it(foot: float) -> None:
    assert len(in_regions(standing(320, foot), [WHOLE], 640, 480)) == 1


def test_what_is_kept_keeps_its_confidence_and_class() -> None:
    two = Detections(
        np.array([[0, 0, 20, 100], [600, 0, 620, 100]], np.float32),
        np.array([0.6, 0.7], np.float32),
        np.array([3, 5], np.int32),
    )
    kept = in_regions(two, [RIGHT_HALF], 640, 480)
    assert (kept.confidence.tolist(), kept.class_id.tolist()) == ([pytest.approx(0.7)], [5])


def _edges(polygon: tuple[Point, ...]) -> list[tuple[Point, Point]]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _distance(point: Point, a: Point, b: Point) -> float:
    """From a point to a piece of a line."""
    (px, py), (ax, ay), (bx, by) = point, a, b
    length = (bx - ax) ** 2 + (by - ay) ** 2
    along = 0.0 if length == 0 else ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length
    along = min(max(along, 0.0), 1.0)
    return float(np.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay)))

"""Alignment: five landmarks decide how a face is turned upright into 112x112."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.picture import ArrayPicture
from orchestrator.recognition.alignment import (
    CROP_PX,
    TEMPLATE,
    align,
    inverse,
    share_inside,
    similarity_transform,
)

shifts = st.floats(-500, 500)


def moved(
    points: NDArray[np.float64], scale: float, turn_rad: float, dx: float, dy: float
) -> NDArray[np.float64]:
    cos, sin = np.cos(turn_rad) * scale, np.sin(turn_rad) * scale
    turned: NDArray[np.float64] = points @ np.array([[cos, -sin], [sin, cos]]).T + (dx, dy)
    return turned


def apply(transform: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    mapped: NDArray[np.float64] = points @ transform[:, :2].T + transform[:, 2]
    return mapped


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The published form with an SVD, equations 40 to 42."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred, aimed = source - source_mean, target - target_mean
    u, d, vt = np.linalg.svd(aimed.T @ centred / len(source))
    sign = np.diag([1.0, np.linalg.det(u) * np.linalg.det(vt)])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / centred.var(axis=0).sum()
    return np.column_stack((scale * rotation, target_mean - scale * rotation @ source_mean))


@given(st.floats(0.1, 20), st.floats(-3.1, 3.1), shifts, shifts)
def test_a_turned_scaled_and_shifted_face_is_brought_back_exactly(
    scale: float, turn_rad: float, dx: float, dy: float
) -> None:
    landmarks = moved(TEMPLATE, scale, turn_rad, dx, dy)
    assert apply(similarity_transform(landmarks), landmarks) == pytest.approx(TEMPLATE, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_it_is_umeyamas_least_squares_solution_for_any_landmarks(seed: int) -> None:
    landmarks = TEMPLATE + np.random.default_rng(seed).normal(0, 15, TEMPLATE.shape)
    assert similarity_transform(landmarks) == pytest.approx(umeyama(landmarks, TEMPLATE), abs=1e-6)


@given(st.floats(0.1, 20), st.floats(-3.1, 3.1), shifts, shifts)
def test_the_inverse_undoes_it(scale: float, turn_rad: float, dx: float, dy: float) -> None:
    forth = similarity_transform(moved(TEMPLATE, scale, turn_rad, dx, dy))
    assert apply(inverse(forth), apply(forth, TEMPLATE)) == pytest.approx(TEMPLATE, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_landmarks_that_coincide_or_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="coincide or are not finite"):
        similarity_transform(np.full((5, 2), value))


@pytest.mark.parametrize(("scale", "turn_rad"), [(1.0, 0.0), (1.7, 0.5), (4.0, -0.8), (0.6, 3.0)])
def test_each_landmark_of_the_picture_lands_on_its_place_in_the_crop(
    scale: float, turn_rad: float
) -> None:
    landmarks = moved(TEMPLATE - 56.0, scale, turn_rad, 400, 400)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]])
    canvas = np.zeros((800, 800, 3), np.uint8)
    yy, xx = np.mgrid[0:800, 0:800]
    for (x, y), colour in zip(landmarks, colours, strict=True):
        canvas[(xx - x) ** 2 + (yy - y) ** 2 <= (4 * scale) ** 2] = colour
    crop = align(ArrayPicture(canvas), landmarks)
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    for (x, y), colour in zip(TEMPLATE, colours, strict=True):
        assert np.abs(crop[round(y), round(x)].astype(int) - colour).max() < 60


def test_a_face_already_in_place_is_copied_unchanged() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (CROP_PX, CROP_PX, 3), np.uint8)
    assert np.abs(align(ArrayPicture(pixels), TEMPLATE).astype(int) - pixels).max() <= 1


def test_beyond_the_picture_the_crop_is_black() -> None:
    white = ArrayPicture(np.full((CROP_PX, CROP_PX, 3), 255, np.uint8))
    crop = align(white, TEMPLATE + np.array([CROP_PX / 2, 0.0]))
    assert crop[:, : CROP_PX // 2 - 1].min() == 255
    assert crop[:, CROP_PX // 2 + 1 :].max() == 0
    assert align(white, TEMPLATE + 10_000).max() == 0


def test_only_the_pixels_under_the_face_are_read() -> None:
    class Watched(ArrayPicture):
        area = 0

        def region(
            self, x1: int, y1: int, x2: int, y2: int, *, size: tuple[int, int] | None = None
        ) -> NDArray[np.uint8]:
            self.area += (x2 - x1) * (y2 - y1)
            return super().region(x1, y1, x2, y2, size=size)

    picture = Watched(np.zeros((1080, 1920, 3), np.uint8))
    align(picture, TEMPLATE + np.array([900, 500]))
    assert CROP_PX**2 <= picture.area <= (CROP_PX + 8) ** 2


def test_a_large_face_is_averaged_so_that_noise_does_not_pass_for_detail() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (900, 900, 3), np.uint8)
    crop = align(ArrayPicture(noise), TEMPLATE * 8.0)
    assert crop.std() < noise.std() / 4


@pytest.mark.parametrize(
    ("shift", "share"), [((0, 0), 1.0), ((0, -56), 0.5), ((56, 56), 0.25), ((500, 0), 0.0)]
)
def test_the_share_inside_the_picture_is_told(shift: tuple[int, int], share: float) -> None:
    picture = ArrayPicture(np.zeros((CROP_PX, CROP_PX, 3), np.uint8))
    assert share_inside(picture, TEMPLATE + shift) == pytest.approx(share, abs=0.08)

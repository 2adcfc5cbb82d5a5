"""A picture in memory: thinned brightness, scaled pixels, and a rectangle of it that may lie anywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.picture import ArrayPicture

WIDTH, HEIGHT = 13, 7
PIXELS = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint16).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)


def flat(red: int, green: int, blue: int) -> ArrayPicture:
    return ArrayPicture(np.full((4, 6, 3), (red, green, blue), np.uint8))


def test_its_size_is_that_of_the_pixels() -> None:
    picture = ArrayPicture(PIXELS)
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
    ids=["grey", "with alpha", "floats", "a batch"],
)
def test_anything_but_rgb_bytes_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8 \\(height, width, 3\\)"):
        ArrayPicture(pixels)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 20])
def test_brightness_is_that_of_every_so_many_pixels(step: int) -> None:
    luma = ArrayPicture(PIXELS).luma(step)
    assert luma.dtype == np.uint8
    assert luma.shape == (-(-HEIGHT // step), -(-WIDTH // step))
    assert np.array_equal(luma, ArrayPicture(PIXELS).luma(1)[::step, ::step])


def test_brightness_goes_from_black_to_white_and_green_is_the_brightest_colour() -> None:
    assert int(flat(0, 0, 0).luma(1)[0, 0]) == 0
    assert int(flat(255, 255, 255).luma(1)[0, 0]) == 255
    red, green, blue = (int(flat(*colour).luma(1)[0, 0]) for colour in _primaries())
    assert green > red > blue


def _primaries() -> list[tuple[int, int, int]]:
    return [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def test_at_its_own_size_the_pixels_are_handed_out_as_they_are() -> None:
    assert np.array_equal(ArrayPicture(PIXELS).rgb(WIDTH, HEIGHT), PIXELS)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (6, 20), (320, 180)])
def test_scaled_to_any_size_a_plain_colour_stays_what_it_is(width: int, height: int) -> None:
    scaled = flat(10, 120, 250).rgb(width, height)
    assert scaled.dtype == np.uint8
    assert scaled.shape == (height, width, 3)
    assert np.all(scaled == (10, 120, 250))


coordinates = st.integers(-30, 30)


@given(coordinates, coordinates, coordinates, coordinates)
def test_a_rectangle_is_clipped_to_the_picture_and_may_be_empty(
    x1: int, y1: int, x2: int, y2: int
) -> None:
    found = ArrayPicture(PIXELS).region(x1, y1, x2, y2)
    inside = [
        [PIXELS[y, x] for x in range(WIDTH) if x1 <= x < x2] for y in range(HEIGHT) if y1 <= y < y2
    ]
    assert found.shape == (len(inside), len(inside[0]) if inside else found.shape[1], 3)
    if found.size:
        assert np.array_equal(found, np.array(inside))

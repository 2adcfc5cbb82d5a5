"""Planes of brightness and colour: what their numbers mean, by the standards that cameras name."""

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.picture import ArrayPicture
from orchestrator.planes import Planes, Standard, colour_of

# Codes of pure colours: luma, U, V (ITU-R BT.601 and BT.709, rounded).
CODES: dict[tuple[Standard, bool], dict[tuple[int, int, int], tuple[int, int, int]]] = {
    ("BT.601", False): {(16, 128, 128): (0, 0, 0), (235, 128, 128): (255, 255, 255)}
    | {(81, 90, 240): (255, 0, 0), (145, 54, 34): (0, 255, 0), (41, 240, 110): (0, 0, 255)},
    ("BT.709", False): {(63, 102, 240): (255, 0, 0), (173, 42, 26): (0, 255, 0)},
    ("BT.601", True): {(76, 85, 255): (255, 0, 0), (255, 128, 128): (255, 255, 255)},
    ("BT.709", True): {(54, 99, 255): (255, 0, 0), (18, 255, 116): (0, 0, 255)},
}


def shown(planes: Planes) -> NDArray[np.float32]:
    """RGB, float32 (h, w, 3), each chroma spread over the four pixels that it covers."""
    height, width = planes.luma.shape
    chroma = planes.chroma.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    one = np.ones((1, height, width), np.float32)
    values = np.concatenate([planes.luma[None], chroma, one]).astype(np.float32)
    rgb: NDArray[np.float32] = np.einsum("ck,khw->hwc", planes.colour, values)
    return rgb.clip(0, 255)


@pytest.mark.parametrize(("standard", "full_range"), CODES)
def test_a_code_means_the_colour_that_its_standard_says(
    standard: Standard, full_range: bool
) -> None:
    colour = colour_of(standard, full_range=full_range)
    for code, rgb in CODES[standard, full_range].items():
        np.testing.assert_allclose(colour @ np.array([*code, 1]), rgb, atol=3)


@pytest.mark.parametrize(("standard", "full_range"), CODES)
def test_luma_counts_alike_for_all_three_colours(standard: Standard, full_range: bool) -> None:
    """The served graph relies on it."""
    gains = colour_of(standard, full_range=full_range)[:, 0]
    assert gains[0] == gains[1] == gains[2]


@pytest.mark.parametrize(("standard", "full_range"), CODES)
@pytest.mark.parametrize("grey", [0, 114, 255])
def test_the_luma_of_a_grey_is_known(standard: Standard, full_range: bool, grey: int) -> None:
    nothing = np.zeros((0, 0), np.uint8)
    planes = Planes(nothing, nothing, colour_of(standard, full_range=full_range))
    shade = planes.colour @ np.array([planes.luma_of(grey), 128, 128, 1])
    np.testing.assert_allclose(shade, grey, atol=0.6)


@pytest.mark.parametrize("size", [None, (8, 6), (2, 2)])
def test_a_picture_in_memory_keeps_its_colours(size: tuple[int, int] | None) -> None:
    rgb = np.zeros((11, 15, 3), np.uint8)
    rgb[:] = (200, 40, 90)
    planes = ArrayPicture(rgb).planes(size)
    width, height = size or (15, 11)
    assert planes.luma.shape == (height, width)
    assert planes.chroma.shape == (2, -(-height // 2), -(-width // 2))
    assert np.abs(shown(planes) - (200, 40, 90)).max() < 3

"""A picture is scaled into a square, top left, and boxes find their way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inference.letterbox import PAD_VALUE, letterbox, letterbox_region
from orchestrator.picture import ArrayPicture


def picture(width: int, height: int) -> ArrayPicture:
    return ArrayPicture(np.zeros((height, width, 3), np.uint8))


def test_a_wide_picture_fills_the_width_and_is_padded_below() -> None:
    boxed = letterbox(picture(1920, 1080), 320)
    assert boxed.image.shape == (320, 320, 3)
    assert not boxed.image[:180].any()
    assert (boxed.image[180:] == PAD_VALUE).all()


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(2, 2000),
    height=st.integers(2, 2000),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_point_mapped_to_the_network_and_back_is_the_same_point(
    width: int, height: int, x: float, y: float
) -> None:
    boxed = letterbox(picture(width, height), 320)
    source = np.array([[x * width, y * height]], np.float32)
    network = source * np.asarray(boxed.scale, np.float32)
    assert (network <= 320.001).all()
    assert boxed.to_source(network) == pytest.approx(source, abs=0.01)


def test_a_box_that_reaches_into_the_padding_is_clipped_to_the_picture() -> None:
    boxed = letterbox(picture(640, 320), 320)
    assert boxed.to_source(np.array([[400, 300]], np.float32)).tolist() == [[640, 320]]


def test_a_region_maps_back_to_the_whole_picture() -> None:
    boxed = letterbox_region(picture(640, 480), (100, 200, 260, 360), 320)
    assert boxed.to_source(np.array([[0, 0], [320, 320]], np.float32)).tolist() == [
        [100, 200],
        [260, 360],
    ]


def test_a_region_beyond_the_edge_is_clipped() -> None:
    boxed = letterbox_region(picture(640, 480), (-50, -50, 100, 100), 320)
    assert (boxed.left, boxed.top, boxed.width, boxed.height) == (0, 0, 100, 100)

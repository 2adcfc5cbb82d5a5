"""Annotation: what is drawn onto a picture, and that the picture itself is left alone."""

import io
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from orchestrator.annotate import STYLES, annotate, caption, draw, plain, scaled
from orchestrator.board import Kind
from tests.http.footage import grey, mark, view


def test_a_box_is_drawn_where_the_mark_is_scaled_with_the_picture() -> None:
    drawn = draw(view(mark(kind="known", xyxy=(200, 100, 600, 500)), picture=grey(1280, 720)), 640)
    assert drawn.shape == (360, 640, 3)
    # Left edge at x = 100; half way down it is the colour of its kind.
    assert tuple(drawn[150, 100]) == STYLES["known"].box
    assert tuple(drawn[150, 200]) == (90, 90, 90)


def test_the_frame_itself_is_never_written_to() -> None:
    picture = grey()
    draw(view(mark(), picture=picture), 640)
    assert np.unique(picture.rgb(640, 360)).tolist() == [90]


@pytest.mark.parametrize(
    "xyxy",
    [
        (-50, -50, 10, 10),
        (600, 340, 9000, 9000),
        (5000, 5000, 6000, 6000),
        (300, 300, 300, 300),
        (400, 300, 100, 50),
        (float("nan"),) * 4,
        (float("-inf"), 0, float("inf"), 100),
    ],
)
def test_a_box_beyond_the_picture_or_of_no_size_does_no_harm(
    xyxy: tuple[float, float, float, float],
) -> None:
    for kind in get_args(Kind):
        assert draw(view(mark(kind=kind, xyxy=xyxy)), 640).shape == (360, 640, 3)


def test_a_picture_is_never_enlarged_and_its_sides_are_even() -> None:
    assert scaled(1920, 1080, 960) == (960, 540)
    assert scaled(320, 241, 960) == (320, 240)
    assert scaled(3, 3, 2000) == (2, 2)
    assert scaled(4000, 10, 100) == (100, 2)


def test_every_kind_has_a_colour_of_its_own_and_text_that_can_be_read_on_it() -> None:
    assert set(STYLES) == set(get_args(Kind))
    for one, other in combinations(STYLES.values(), 2):
        assert one.box != other.box
    for style in STYLES.values():
        assert _contrast(style.box, style.text) >= 3.0  # WCAG 2.2, 1.4.11 and large text


def test_the_words_tell_the_kinds_apart_without_colour() -> None:
    assert caption(mark("Anna", "known", confidence=0.714)) == "Anna 0.71"
    assert caption(mark("Bo", "unauthorised", confidence=0.6)) == "! Bo 0.60"
    assert caption(mark("stranger", "stranger", track_id=7)) == "? stranger #7"
    assert caption(mark("car", "object", confidence=0.5)) == "car 0.50"


def test_a_name_is_drawn_without_the_accents_that_the_font_lacks() -> None:
    assert caption(mark("Jörg Łukasz Weiß", "known")).startswith("Jorg Lukasz Weiss ")
    assert caption(mark("Zoë", "unauthorised")).startswith("! Zoe ")


def test_a_name_in_any_script_is_drawn() -> None:
    for name in ("Зоя", "李雷", "محمد", "Anna\nBo", "x" * 500, ""):
        assert draw(view(mark(name, "known")), 640).shape == (360, 640, 3)


def test_a_jpeg_comes_out_annotated_or_plain() -> None:
    shown = view(mark(), picture=grey(1280, 720))
    with_boxes = np.asarray(Image.open(io.BytesIO(annotate(shown, 640))))
    without = np.asarray(Image.open(io.BytesIO(plain(shown, 640))))
    assert with_boxes.shape == without.shape == (360, 640, 3)
    assert with_boxes.std() > 5.0
    assert without.std() < 1.0


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Contrast ratio of WCAG 2.2, 1 to 21."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

"""Quality: which faces are fit to be recognised, and the name of what is wrong with the others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from orchestrator.picture import ArrayPicture
from orchestrator.recognition.alignment import TEMPLATE
from orchestrator.recognition.quality import (
    HEAD,
    Refusal,
    eye_distance,
    measure,
    pose,
    refuse_by_geometry,
    refuse_by_pixels,
    sharpness,
)
from orchestrator.settings import FacesSettings

LIMITS = FacesSettings()
PICTURE = ArrayPicture(np.zeros((480, 640, 3), np.uint8))
FRONTAL = TEMPLATE + np.array([250, 150])


def seen(yaw_deg: float, pitch_deg: float, roll_deg: float = 0.0) -> NDArray[np.float64]:
    """Landmarks of the mean head, turned, as a far camera sees them."""
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    about_y = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    )
    in_plane = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    points = HEAD @ about_x.T @ about_y.T
    landmarks: NDArray[np.float64] = 60.0 * points[:, :2] @ in_plane.T + (320, 200)
    return landmarks


def textured() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)


@given(st.floats(-50, 50))
def test_the_yaw_of_a_mean_head_is_found(angle: float) -> None:
    assert pose(seen(angle, 0)) == pytest.approx((angle, 0.0), abs=0.5)


@given(st.floats(-50, 50))
def test_the_pitch_of_a_mean_head_is_found(angle: float) -> None:
    assert pose(seen(0, angle)) == pytest.approx((0.0, angle), abs=0.5)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(-45, 45))
def test_a_head_tilted_to_the_shoulder_is_as_frontal_as_an_upright_one(
    yaw: float, pitch: float, roll: float
) -> None:
    assert pose(seen(yaw, pitch, roll)) == pytest.approx(pose(seen(yaw, pitch)), abs=0.5)


def test_a_face_like_the_template_looks_into_the_camera() -> None:
    assert pose(TEMPLATE) == pytest.approx((0.0, 0.0), abs=1.5)


def test_yaw_is_positive_when_the_nose_points_to_the_right_of_the_image() -> None:
    turned = FRONTAL.copy()
    turned[2, 0] += 10
    assert pose(turned)[0] > 10


def test_coinciding_landmarks_count_as_turned_away() -> None:
    assert pose(np.zeros((5, 2))) == (90.0, 90.0)


def test_eye_distance_is_in_source_pixels() -> None:
    assert eye_distance(TEMPLATE * 2.0) == pytest.approx(70.5, abs=0.1)


def test_blur_lowers_sharpness() -> None:
    sharp = textured()
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(blurred) < sharpness(sharp) / 20
    assert sharpness(np.full((112, 112, 3), 200, np.uint8)) == 0.0


def test_a_good_face_is_not_refused() -> None:
    assert refuse_by_geometry(PICTURE, FRONTAL, 0.95, LIMITS) is None
    assert refuse_by_pixels(measure(textured(), FRONTAL, 0.95, LIMITS), LIMITS) is None


@pytest.mark.parametrize(
    ("landmarks", "confidence", "reason"),
    [
        (FRONTAL, 0.5, Refusal.LOW_CONFIDENCE),
        (np.full((5, 2), np.nan), 0.95, Refusal.LOW_CONFIDENCE),
        (TEMPLATE * 0.5 + 100, 0.95, Refusal.TOO_SMALL),
        (seen(50, 0), 0.95, Refusal.TURNED),
        (seen(0, -50), 0.95, Refusal.TURNED),
        (TEMPLATE + np.array([-35, 100]), 0.95, Refusal.CUT_OFF),
    ],
)
def test_a_face_that_is_not_fit_is_refused_under_its_reason(
    landmarks: NDArray[np.float64], confidence: float, reason: Refusal
) -> None:
    assert refuse_by_geometry(PICTURE, landmarks, confidence, LIMITS) is reason


def test_a_face_without_detail_is_refused_as_blurred() -> None:
    flat = np.full((112, 112, 3), 128, np.uint8)
    assert refuse_by_pixels(measure(flat, FRONTAL, 0.95, LIMITS), LIMITS) is Refusal.BLURRED


@given(
    st.floats(0.0, 1.0),
    st.floats(0.01, 50.0),
    st.floats(-80, 80),
    st.floats(0.01, 100.0),
    st.floats(0.0, 100.0),
)
def test_the_score_lies_between_0_and_1(
    confidence: float, scale: float, yaw: float, min_size: float, min_sharpness: float
) -> None:
    limits = FacesSettings(min_size=min_size, min_sharpness=min_sharpness)
    quality = measure(textured(), seen(yaw, 0) * scale, confidence, limits)
    assert 0.0 <= quality.score <= 1.0


def test_the_score_prefers_larger_and_more_frontal_faces() -> None:
    near = measure(textured(), FRONTAL * 2.0, 0.9, LIMITS).score
    far = measure(textured(), FRONTAL, 0.9, LIMITS).score
    turned = measure(textured(), seen(30, 0), 0.9, LIMITS).score
    straight = measure(textured(), seen(0, 0), 0.9, LIMITS).score
    assert near > far
    assert straight > turned

"""How fit a face is to be recognised, and why it is not."""

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orchestrator.face import FaceQuality
from orchestrator.picture import Picture
from orchestrator.recognition.alignment import TEMPLATE, share_inside
from orchestrator.settings import FacesSettings

# Least share of the aligned crop that must lie in the picture: below it part of the face itself is missing.
MIN_SHARE_INSIDE = 0.8


class Refusal(StrEnum):
    """Why a face is not used. Also the label of fess_faces_refused_total."""

    LOW_CONFIDENCE = "low_confidence"  # the detector is not sure that it is one
    TOO_SMALL = "too_small"  # too few pixels between the eyes
    TURNED = "turned"  # away from the camera
    CUT_OFF = "cut_off"  # reaches out of the picture
    BLURRED = "blurred"  # out of focus, in motion, or scaled up
    AMBIGUOUS = "ambiguous"  # could be the face of either of two people


def _head() -> NDArray[np.float64]:
    """The five landmarks of a mean head in 3D, float64 (5, 3): x right, y down, z towards the camera.

    One unit is the distance between the eyes. x and y are ArcFace's mean frontal face made symmetric; the depths
    are those of a generic head, whose nose tip stands 0.43 and mouth corners 0.05 before the plane of the eyes.
    """
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]] * (-1.0, 1.0)
    flat = (TEMPLATE - TEMPLATE[:2].mean(axis=0)) + (mirrored - mirrored[:2].mean(axis=0))
    flat /= flat[1, 0] - flat[0, 0]
    return np.column_stack((flat, (0.0, 0.0, 0.43, 0.05, 0.05)))


HEAD: NDArray[np.float64] = _head()
_HEAD_INVERSE: NDArray[np.float64] = np.linalg.pinv(HEAD - HEAD.mean(axis=0))


def pose(landmarks: NDArray[np.floating]) -> tuple[float, float]:
    """Yaw and pitch in degrees; 0 looks into the camera. Positive yaw looks to the image's right, positive pitch down.

    Fits the mean head under scaled orthographic projection (DeMenthon and Davis 1995, section 2, the first step of
    POSIT): good to some ten degrees, as people differ from the mean, and blind to roll, which alignment takes out.
    """
    points = landmarks.astype(np.float64)
    rows = (points - points.mean(axis=0)).T @ _HEAD_INVERSE.T
    lengths = np.linalg.norm(rows, axis=1)
    if not np.all(np.isfinite(lengths)) or np.any(lengths < 1e-9):
        return 90.0, 90.0
    across, down = rows / lengths[:, None]
    ahead = np.cross(across, down)
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    # Take out the roll, so that what is left of z in the two image axes is yaw and pitch alone.
    roll = math.atan2(down[0] - across[1], across[0] + down[1])
    right = math.cos(roll) * across + math.sin(roll) * down
    below = math.cos(roll) * down - math.sin(roll) * across
    yaw = math.degrees(math.atan2(right[2], math.hypot(below[2], ahead[2])))
    pitch = math.degrees(math.atan2(below[2], ahead[2]))
    return yaw, pitch


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of an aligned crop's luma (Pech-Pacheco et al. 2000, section 2).

    The crop is scaled to one size, so that the figure compares between near and far faces.
    """
    rgb = crop.astype(np.int32)
    luma = (2 * rgb[..., 0] + 5 * rgb[..., 1] + rgb[..., 2]) >> 3
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    return float(laplacian.var())


def eye_distance(landmarks: NDArray[np.floating]) -> float:
    """In source pixels."""
    dx, dy = (landmarks[1] - landmarks[0]).tolist()
    return math.hypot(dx, dy)


def refuse_by_geometry(
    picture: Picture,
    landmarks: NDArray[np.floating],
    confidence: float,
    limits: FacesSettings,
) -> Refusal | None:
    """What the landmarks alone tell, before a pixel is read: float (5, 2) in source pixels."""
    if not np.all(np.isfinite(landmarks)) or confidence < limits.detector_threshold:
        return Refusal.LOW_CONFIDENCE
    if eye_distance(landmarks) < limits.min_size:
        return Refusal.TOO_SMALL
    yaw, pitch = pose(landmarks)
    if abs(yaw) > limits.max_yaw or abs(pitch) > limits.max_pitch:
        return Refusal.TURNED
    if share_inside(picture, landmarks) < MIN_SHARE_INSIDE:
        return Refusal.CUT_OFF
    return None


def measure(
    crop: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    confidence: float,
    limits: FacesSettings,
) -> FaceQuality:
    """All measures of one face. The score halves its share at each limit, so that twice the limit earns two thirds."""
    size_px = eye_distance(landmarks)
    detail = sharpness(crop)
    yaw, pitch = pose(landmarks)
    frontal = math.cos(math.radians(yaw)) * math.cos(math.radians(pitch))
    score = (
        min(max(confidence, 0.0), 1.0)
        * _saturating(size_px, limits.min_size)
        * _saturating(detail, limits.min_sharpness)
        * max(frontal, 0.0)
    )
    return FaceQuality(size_px, detail, yaw, pitch, confidence, score)


def refuse_by_pixels(quality: FaceQuality, limits: FacesSettings) -> Refusal | None:
    return Refusal.BLURRED if quality.sharpness < limits.min_sharpness else None


def _saturating(value: float, half_at: float) -> float:
    return value / (value + half_at) if value > 0.0 else 0.0

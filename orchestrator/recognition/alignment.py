"""Turn a face in a picture into the upright 112x112 crop that embedders are trained on."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.picture import Picture

CROP_PX = 112

# Where the five landmarks lie in an aligned crop: the mean face of ArcFace's training set (Deng et al. 2019,
# "ArcFace", section 3.1 and its published code). First the eye that is left in the image: the person's right.
TEMPLATE: NDArray[np.float64] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating] = TEMPLATE
) -> NDArray[np.float64]:
    """Rotation, scale and shift that take `source` nearest to `target`: float64 (2, 3).

    Least squares over proper rotations (Umeyama 1991, equations 40 to 42). In the plane it needs no SVD: with points
    as complex numbers the transform is z -> a z + b, and a is the regression coefficient.

    Args:
        source: (n, 2) points, x and y.
        target: (n, 2) where they should go.

    Raises:
        ValueError: the points coincide or are not finite, so that there is no such transform.
    """
    if not np.all(np.isfinite(source)):
        raise ValueError("the landmarks coincide or are not finite")
    z = _complex(source)
    w = _complex(target)
    z_mean, w_mean = z.mean(), w.mean()
    spread = float(np.sum(np.abs(z - z_mean) ** 2))
    if spread < 1e-9:
        raise ValueError("the landmarks coincide or are not finite")
    a = complex(np.sum(np.conj(z - z_mean) * (w - w_mean)) / spread)
    if abs(a) < 1e-12:
        raise ValueError("the landmarks are as unlike the template as can be")
    b = complex(w_mean - a * z_mean)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def inverse(transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarity that undoes a similarity, float64 (2, 3)."""
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack((linear, -linear @ transform[:, 2]))


def align(picture: Picture, landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut out one face, upright: uint8 (112, 112, 3), RGB; black where the picture ends.

    Only the pixels under the face are read. A face much larger than the crop is averaged down first, for bilinear
    sampling alone would skip pixels and see noise as detail.

    Args:
        picture: the frame at full resolution.
        landmarks: (5, 2) in source pixels, ordered as in `Faces.landmarks`.

    Raises:
        ValueError: the landmarks are degenerate.
    """
    to_source = inverse(similarity_transform(landmarks))
    x1, y1, x2, y2 = _extent(to_source)
    x1, y1 = max(x1, 0), max(y1, 0)
    pixels = picture.region(x1, y1, min(x2, picture.width), min(y2, picture.height))
    if pixels.size == 0:
        return np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    linear = to_source[:, :2]
    # Integer coordinates are pixel centres in the template and in the landmarks; Pillow has its centres at one half.
    shift = to_source[:, 2] - (x1, y1) + 0.5 - linear @ (0.5, 0.5)
    shrink = int(math.hypot(linear[0, 0], linear[1, 0]))
    if shrink >= 2:
        image = image.reduce(shrink)
        linear, shift = linear / shrink, shift / shrink
    crop = image.transform(
        (CROP_PX, CROP_PX),
        Image.Transform.AFFINE,
        (linear[0, 0], linear[0, 1], shift[0], linear[1, 0], linear[1, 1], shift[1]),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(crop, dtype=np.uint8)


def share_inside(picture: Picture, landmarks: NDArray[np.floating]) -> float:
    """How much of the aligned crop the picture covers, 0..1, sampled on a 15x15 grid."""
    to_source = inverse(similarity_transform(landmarks))
    steps = np.linspace(0.0, CROP_PX - 1.0, 15)
    u, v = np.meshgrid(steps, steps)
    x = to_source[0, 0] * u + to_source[0, 1] * v + to_source[0, 2]
    y = to_source[1, 0] * u + to_source[1, 1] * v + to_source[1, 2]
    inside = (x >= 0) & (x <= picture.width - 1) & (y >= 0) & (y <= picture.height - 1)
    return float(inside.mean())


def _complex(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    z: NDArray[np.complex128] = points[:, 0].astype(np.float64) + 1j * points[:, 1]
    return z


def _extent(to_source: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """The source rectangle under the crop, with room for bilinear neighbours."""
    last = CROP_PX - 1.0
    corners = np.array([[0.0, 0.0], [last, 0.0], [0.0, last], [last, last]])
    mapped = corners @ to_source[:, :2].T + to_source[:, 2]
    low, high = np.floor(mapped.min(axis=0)), np.ceil(mapped.max(axis=0))
    # A wild landmark must not become an integer that overflows; far outside is outside.
    low, high = np.clip(low, -1e6, 1e6), np.clip(high, -1e6, 1e6)
    return int(low[0]) - 1, int(low[1]) - 1, int(high[0]) + 3, int(high[1]) + 3

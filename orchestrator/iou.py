"""How much boxes overlap."""

import numpy as np
from numpy.typing import NDArray


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair: (n, 4) and (m, 4) give (n, m); 0 for empty boxes."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(a)[:, None] + _area(b)[None, :] - intersection
    overlap: NDArray[np.float32] = np.zeros_like(intersection)
    np.divide(intersection, union, out=overlap, where=union > 0)
    return overlap


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    area: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area

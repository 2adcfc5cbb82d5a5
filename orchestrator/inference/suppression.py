"""Greedy non-maximum suppression of one class against itself, on the few rows that a model returns."""

import numpy as np
from numpy.typing import NDArray


def suppress(
    xyxy: NDArray[np.float32],
    confidence: NDArray[np.float32],
    class_id: NDArray[np.int32],
    threshold: float,
) -> NDArray[np.intp]:
    """Rows to keep, best first: no two of a class overlap by more than `threshold` (IoU).

    Shapes (n, 4), (n,), (n,).
    """
    order = np.argsort(-confidence, kind="stable")
    if len(order) < 2:
        return order
    boxes, classes = xyxy[order], class_id[order]
    overlaps = (iou(boxes, boxes) > threshold) & (classes[:, None] == classes[None, :])
    keep = np.ones(len(order), np.bool_)
    for row in range(len(order)):
        if keep[row]:
            keep[row + 1 :] &= ~overlaps[row, row + 1 :]
    return order[keep]


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair: (n, 4) and (m, 4) give (n, m); 0 for empty boxes."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(a)[:, None] + _area(b)[None, :] - intersection
    overlap: NDArray[np.float32] = np.zeros_like(intersection)
    return np.divide(intersection, union, out=overlap, where=union > 0)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    area: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area

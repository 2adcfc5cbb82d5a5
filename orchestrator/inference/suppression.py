"""Greedy non-maximum suppression of one class against itself, on the few rows that a model returns."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.iou import iou


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

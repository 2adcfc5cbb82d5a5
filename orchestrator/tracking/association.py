"""Which detection belongs to which track: overlap, and the best assignment under a gate."""

import lap
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def overlap(tracks: Floats, detections: Floats, margin: Floats) -> Floats:
    """Intersection over union of corner boxes (n, 4) and (m, 4): (n, m).

    Both boxes of a pair grow by the track's margin, (n, 2) pixels in x and y, on every side
    (buffered IoU; C-BIoU, Yang et al. 2023, arXiv 2211.14317, section 3.2). Boxes in the same place still give 1,
    and boxes that stand apart by less than twice the margin give more than 0.
    """
    first = tracks[:, np.newaxis, :]
    second = detections[np.newaxis, :, :]
    grow = margin[:, np.newaxis, :]
    low = np.maximum(first[..., :2], second[..., :2]) - grow
    high = np.minimum(first[..., 2:], second[..., 2:]) + grow
    shared = _area(np.maximum(high - low, 0.0))
    area_first = _area(first[..., 2:] - first[..., :2] + 2 * grow)
    area_second = _area(second[..., 2:] - second[..., :2] + 2 * grow)
    ratio: Floats = shared / np.maximum(area_first + area_second - shared, 1e-9)
    return ratio


def _area(sides: Floats) -> Floats:
    """Of width and height in the last axis; a product of two columns takes a quarter of `np.prod`."""
    area: Floats = sides[..., 0] * sides[..., 1]
    return area


def assign(likeness: Floats, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair rows with columns so that the pairs' summed likeness above `least` is greatest.

    Returns rows and columns of the pairs, in order of the rows; a pair at or below `least` is none.
    """
    none = np.empty(0, np.intp)
    if not likeness.size or likeness.max() <= least:
        return none, none
    # Below the gate all are equally bad, so that a forced bad pair never pushes a good one aside:
    # the same optimum as lapjv's cost_limit, on a quarter of the matrix.
    cost = 1.0 - np.maximum(likeness, least)
    column_of_row, _ = lap.lapjv(cost, extend_cost=True, return_cost=False)
    rows = np.flatnonzero(column_of_row >= 0)
    columns = column_of_row[rows].astype(np.intp)
    good = likeness[rows, columns] > least
    return rows[good], columns[good]

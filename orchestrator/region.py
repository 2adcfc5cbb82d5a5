"""Polygons over a picture: which points lie inside, which pixels they cover, which detections count.

Corners are fractions of the picture, origin top left. Inside is even-odd (a star's heart is outside), and a
point counts as inside when any of the polygons holds it. An edge belongs to the side that is right of it or
below it, so that polygons that share an edge never both claim a point.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.camera import Point
from orchestrator.detection import Detections

Polygons = Sequence[Sequence[Point]]


def inside(points: NDArray[np.floating], polygons: Polygons) -> NDArray[np.bool_]:
    """Say for each point, (n, 2) in fractions, whether a polygon holds it: bool (n,)."""
    return _covered(points[:, 0], points[:, 1], polygons)


def rasterise(polygons: Polygons, height: int, width: int) -> NDArray[np.bool_]:
    """Paint the polygons: bool (height, width), true where a pixel's middle is inside."""
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    return _covered(x[np.newaxis, :], y[:, np.newaxis], polygons)


def in_regions(detections: Detections, regions: Polygons, width: int, height: int) -> Detections:
    """Keep the detections that stand in a region; all of them where there is none.

    An object stands where the middle of its box's lower edge is. That point is moved into the picture first:
    somebody cut off by the lower edge still stands in a region that reaches down to it.

    Args:
        detections: corners in pixels of the source frame.
        regions: polygons in fractions.
        width: of the source frame, in pixels.
        height: the same.
    """
    if not regions or not len(detections):
        return detections
    foot_x = (detections.xyxy[:, 0] + detections.xyxy[:, 2]) / 2
    foot_y = detections.xyxy[:, 3]
    x = np.clip(foot_x, 0.5, width - 0.5) / width
    y = np.clip(foot_y, 0.5, height - 0.5) / height
    return detections[inside(np.stack((x, y), axis=1), regions)]


def _covered(
    x: NDArray[np.floating], y: NDArray[np.floating], polygons: Polygons
) -> NDArray[np.bool_]:
    """Even-odd over any two arrays that broadcast against each other."""
    covered = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.bool_)
    for polygon in polygons:
        odd = np.zeros_like(covered)
        for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            if y1 == y2:
                continue  # a level edge is crossed by no level ray
            crossed = (y1 <= y) != (y2 <= y)
            crossing_x = x1 + (y - y1) * ((x2 - x1) / (y2 - y1))
            odd ^= crossed & (x < crossing_x)
        covered |= odd
    return covered

"""Constant-velocity Kalman filter for many boxes at once, in seconds instead of frames.

With noise that is independent per coordinate (as in DeepSORT and ByteTrack) the usual 8 x 8 covariance falls
apart into four 2 x 2 blocks, position and velocity of centre x, centre y, width and height. Everything is then
elementwise over (n, 4) arrays, and n tracks cost as much as one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# All relative to the height of the box, which stands for the distance to the camera.
# One detection is off by so much (DeepSORT's weight, 1/20).
_MEASURED = np.array([0.05, 0.05, 0.05, 0.05])
# Velocity of a new track, in heights a second: who walks makes about one body height a second.
_BORN_SPEED = np.array([1.0, 1.0, 0.4, 0.4])
# How much a velocity wanders in one second.
_WANDER = np.array([0.7, 0.7, 0.3, 0.3])
# A lost track is not believed to go on walking for ever.
_COAST_S = 1.0
_LEAST_SIZE_PX = 1.0


@dataclass(slots=True)
class BoxFilter:
    """Rows are tracks; columns centre x, centre y, width, height, in pixels and seconds.

    position, velocity  float64 (n, 4)
    pp, pv, vv          float64 (n, 4)  variance of position, covariance, variance of velocity
    """

    position: Floats
    velocity: Floats
    pp: Floats
    pv: Floats
    vv: Floats

    @classmethod
    def born(cls, boxes: Floats) -> "BoxFilter":
        """Start at boxes (n, 4) of centre and size, with unknown velocity."""
        height = _height(boxes)
        zeros = np.zeros_like(boxes)
        return cls(
            boxes.copy(),
            zeros,
            (height * _MEASURED) ** 2,
            zeros.copy(),
            (height * _BORN_SPEED) ** 2,
        )

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> "BoxFilter":
        return BoxFilter(
            self.position[keep], self.velocity[keep], self.pp[keep], self.pv[keep], self.vv[keep]
        )

    def joined(self, other: "BoxFilter") -> "BoxFilter":
        return BoxFilter(
            np.concatenate((self.position, other.position)),
            np.concatenate((self.velocity, other.velocity)),
            np.concatenate((self.pp, other.pp)),
            np.concatenate((self.pv, other.pv)),
            np.concatenate((self.vv, other.vv)),
        )

    def predict(self, dt_s: float, coasting: NDArray[np.bool_]) -> None:
        """Go on by dt_s seconds; tracks that were not seen last time (bool (n,)) slow down and keep their size."""
        if coasting.any():
            self.velocity[coasting] *= np.exp(-dt_s / _COAST_S)
            self.velocity[coasting, 2:] = 0.0
        self.position += dt_s * self.velocity
        np.maximum(self.position[:, 2:], _LEAST_SIZE_PX, out=self.position[:, 2:])
        # Noise of white acceleration, integrated over dt_s.
        wander = (_height(self.position) * _WANDER) ** 2
        self.pp += dt_s * (2 * self.pv + dt_s * self.vv) + wander * dt_s**3 / 3
        self.pv += dt_s * self.vv + wander * dt_s**2 / 2
        self.vv += wander * dt_s

    def correct(self, rows: NDArray[np.intp], boxes: Floats) -> None:
        """Take in what was measured, (len(rows), 4), for the given rows."""
        pp, pv = self.pp[rows], self.pv[rows]
        noise = (_height(boxes) * _MEASURED) ** 2
        gain_position, gain_velocity = pp / (pp + noise), pv / (pp + noise)
        off = boxes - self.position[rows]
        self.position[rows] += gain_position * off
        self.velocity[rows] += gain_velocity * off
        self.vv[rows] -= gain_velocity * pv
        self.pv[rows] = (1 - gain_position) * pv
        self.pp[rows] = (1 - gain_position) * pp

    @property
    def xyxy(self) -> Floats:
        """Corners, (n, 4)."""
        return cornered(self.position)

    @property
    def spread(self) -> Floats:
        """Standard deviation of centre x and y in pixels, (n, 2)."""
        deviation: Floats = np.sqrt(self.pp[:, :2])
        return deviation


def centred(xyxy: NDArray[np.floating]) -> Floats:
    """Corners (n, 4) as centre and size, never thinner than a pixel."""
    corners = xyxy.astype(np.float64)
    size = np.maximum(corners[:, 2:] - corners[:, :2], _LEAST_SIZE_PX)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, size), axis=1)


def cornered(boxes: Floats) -> Floats:
    """Centre and size (n, 4) as corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def _height(boxes: Floats) -> Floats:
    """Column of heights, (n, 1)."""
    return np.maximum(boxes[:, 3:4], _LEAST_SIZE_PX)

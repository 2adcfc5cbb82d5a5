"""Drawn pictures for the gate: a textured room, noise, light, and somebody in it."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.picture import ArrayPicture

Room = NDArray[np.float64]


def room(width: int = 960, height: int = 540, seed: int = 1) -> Room:
    """Brightness of an empty room, 40..180: (height, width), both multiples of 30."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 180, (height // 30, width // 30))
    return coarse.repeat(30, axis=0).repeat(30, axis=1)


def shot(
    scene: Room,
    *,
    person: tuple[int, int, int, int] | None = None,
    noise: float = 0.0,
    gain: float = 1.0,
    offset: float = 0.0,
    seed: int = 0,
) -> ArrayPicture:
    """What a camera makes of it; a person is a bright box (x1, y1, x2, y2) in pixels."""
    seen = scene.copy()
    if person is not None:
        x1, y1, x2, y2 = person
        seen[max(y1, 0) : y2, max(x1, 0) : x2] = 230
    seen = seen * gain + offset
    if noise:
        seen = seen + np.random.default_rng(seed).normal(0, noise, seen.shape)
    grey = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return ArrayPicture(np.repeat(grey[:, :, np.newaxis], 3, axis=2))

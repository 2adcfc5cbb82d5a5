"""Eight people who stroll, turn and hide one another, and the detections a camera would give of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.detection import Detections

PEOPLE = 8
STEP_S = 0.05
# Seconds between inspections, drawn anew each time: steady, and of a machine that is often busy.
STEADY_20, STEADY_5, STEADY_2 = (0.05,), (0.2,), (0.5,)
BUSY_5 = (0.2, 0.2, 0.2, 0.4, 0.6, 0.8)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Glance:
    """One inspected frame; row i of the detections is person who[i]."""

    pts_s: float
    detections: Detections
    who: tuple[int, ...]


def stroll(seed: int, gaps_s: Sequence[float], seconds: float = 40.0) -> Iterator[Glance]:
    """Watch one scene in a picture of 1920 x 1080; the same seed gives the same walks at every rate."""
    walks, eyes = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    height = walks.uniform(120, 220, PEOPLE)
    width = height * walks.uniform(0.35, 0.45, PEOPLE)
    paths = _paths(walks, height, round(seconds / STEP_S))
    step = 0
    while step < len(paths):
        yield _glance(eyes, step * STEP_S, paths[step], width, height)
        step += round(float(eyes.choice(gaps_s)) / STEP_S)


def _paths(walks: np.random.Generator, height: Floats, steps: int) -> Floats:
    """Feet of everybody, (steps, n, 2): speeds wander, up to a brisk 1.3 body heights a second."""
    low, high = np.array([60.0, 240.0]), np.array([1860.0, 1060.0])
    scale = height[:, np.newaxis] * [1.0, 0.4]  # away from the camera looks slower than across
    feet = walks.uniform(low, high, (PEOPLE, 2))
    speed = walks.normal(0, 0.7, (PEOPLE, 2)) * scale
    paths = np.empty((steps, PEOPLE, 2))
    for step in range(steps):
        speed += walks.normal(0, 0.5 * np.sqrt(STEP_S), (PEOPLE, 2)) * scale
        pace = np.linalg.norm(speed, axis=1) / height
        speed *= np.minimum(1, 1.3 / np.maximum(pace, 1e-9))[:, np.newaxis]
        feet = feet + speed * STEP_S
        speed[(feet < low) | (feet > high)] *= -1
        feet = np.clip(feet, low, high)
        paths[step] = feet
    return paths


def _glance(
    eyes: np.random.Generator, pts_s: float, feet: Floats, width: Floats, height: Floats
) -> Glance:
    """The more of somebody is hidden by one who stands nearer, the weaker the detection; 2 % are missed."""
    left, top = feet[:, 0] - width / 2, feet[:, 1] - height
    boxes = np.stack((left, top, left + width, feet[:, 1]), axis=1)
    hidden = np.array([_hidden(boxes, one) for one in range(PEOPLE)])
    confidence = np.minimum(0.85 - 0.8 * hidden + eyes.normal(0, 0.05, PEOPLE), 0.99)
    seen = np.flatnonzero((confidence > 0.25) & (eyes.random(PEOPLE) > 0.02))
    off = eyes.normal(0, 0.02, (len(seen), 4)) * height[seen, np.newaxis]
    return Glance(
        pts_s,
        Detections(
            (boxes[seen] + off).astype(np.float32),
            confidence[seen].astype(np.float32),
            np.zeros(len(seen), np.int32),
        ),
        tuple(seen.tolist()),
    )


def _hidden(boxes: Floats, one: int) -> float:
    """The largest part of a person that a single nearer one covers."""
    nearer = boxes[boxes[:, 3] > boxes[one, 3]]
    sides = np.minimum(nearer[:, 2:], boxes[one, 2:]) - np.maximum(nearer[:, :2], boxes[one, :2])
    covered = np.prod(np.maximum(sides, 0), axis=1) / np.prod(boxes[one, 2:] - boxes[one, :2])
    return float(covered.max(initial=0.0))

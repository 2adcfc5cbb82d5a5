"""Detections of people who walk, as a detector would give them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.detection import Detections
from orchestrator.ports import Tracker
from orchestrator.track import Track

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    """One detection."""

    box: Box
    confidence: float = 0.9
    class_id: int = 0


def person(x: float, y: float = 400, height: float = 200) -> Box:
    """Somebody whose feet are at (x, y), in pixels."""
    return (x - 0.2 * height, y - height, x + 0.2 * height, y)


def sight(*seen: Seen | Box) -> Detections:
    rows = [one if isinstance(one, Seen) else Seen(one) for one in seen]
    return Detections(
        np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        np.array([row.confidence for row in rows], np.float32),
        np.array([row.class_id for row in rows], np.int32),
    )


def ids(tracks: Iterable[Track]) -> list[int]:
    return [track.track_id for track in tracks]


@dataclass(frozen=True)
class Run:
    """What a tracker said of a scene: the ids shown in each frame, and the ids that ended, in order."""

    shown: list[list[int]]
    ended: list[int]


def run(tracker: Tracker, frames: Sequence[Detections], fps: float = 5, from_s: float = 0.0) -> Run:
    updates = [tracker.update(seen, from_s + number / fps) for number, seen in enumerate(frames)]
    return Run(
        [ids(update.active) for update in updates],
        [track_id for update in updates for track_id in update.ended],
    )

"""One object over time, in one camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """An object that the tracker matched in the current frame.

    track_id      counts from 1 within a camera; never used twice while the process lives
    xyxy          float32 (4,)  corners in pixels of the source frame, origin top left
    confidence    0..1, of the detection matched in this frame
    class_id      line number in the model's labels.txt, from 0
    first_seen_s  pts_s of the first detection
    hits          detections matched so far
    """

    track_id: int
    xyxy: NDArray[np.float32]
    confidence: float
    class_id: int
    first_seen_s: float
    hits: int


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What one frame changed: the tracks seen in it, in order of track_id, and those that ended with it."""

    active: tuple[Track, ...]
    ended: tuple[int, ...]

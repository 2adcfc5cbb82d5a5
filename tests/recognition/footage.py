"""Frames of the sample clips, and tracks that fill the picture, as a tracker would give them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np

from orchestrator.frame import Frame
from orchestrator.picture import ArrayPicture, Picture
from orchestrator.track import Track

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def frames(clip: Path, fps: float = 10.0) -> Iterator[Frame]:
    """Every frame that a camera inspected `fps` times a second would look at."""
    due_s = 0.0
    with av.open(str(clip)) as container:
        for number, decoded in enumerate(container.decode(video=0), start=1):
            pts_s = float(decoded.time or 0.0)
            if pts_s + 1e-6 >= due_s:
                due_s += 1.0 / fps
                picture = ArrayPicture(np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8))
                yield frame(picture, pts_s, number, clip.stem)


def frame(picture: Picture, pts_s: float, number: int = 1, camera_id: str = "door") -> Frame:
    return Frame(camera_id, number, picture, pts_s, BEGIN + timedelta(seconds=pts_s), pts_s)


def person(track_id: int, x1: float, y1: float, x2: float, y2: float) -> Track:
    return Track(track_id, np.array([x1, y1, x2, y2], np.float32), 0.9, 0, 0.0, 3)


def whole(shown: Frame, track_id: int = 1) -> Track:
    """A person who fills the picture."""
    return person(track_id, 0, 0, shown.picture.width, shown.picture.height)

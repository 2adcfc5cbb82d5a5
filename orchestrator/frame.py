"""One decoded picture from one camera, and the moment it shows."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.picture import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What capture hands to the pipeline.

    frame_number  counts every decoded frame of the camera from 1, across reconnects
    pts_s         seconds on the media clock since the camera was first opened; never goes back; for arithmetic
    captured_at   UTC wall clock when the frame was decoded; for people
    received_s    time.monotonic() when the frame was decoded; for latencies
    """

    camera_id: str
    frame_number: int
    picture: Picture
    pts_s: float
    captured_at: datetime
    received_s: float

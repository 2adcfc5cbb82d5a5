"""What is held for one live track: its evidence, and when its face is looked for again."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.face import Sighting
from orchestrator.frame import Frame
from orchestrator.model_version import ModelVersion
from orchestrator.recognition.decision import TrackDecision

# Least stream time between two looks at a track. Just under 0.2 s, so that a camera inspected five times a second
# uses every frame although its timestamps jitter.
SPACING_S = 0.15
# A track that keeps showing no usable face is looked at ever more rarely, up to this spacing.
MAX_SPACING_S = 1.2
PATIENT_LOOKS = 5


@dataclass(slots=True)
class Followed:
    """anonymous: the id of a stranger, for the length of the track."""

    decision: TrackDecision
    anonymous: str
    gallery_version: str
    seen: Sighting | None = None  # the last good face
    looked_s: float = -math.inf
    fruitless: int = 0

    def is_due(self, pts_s: float) -> bool:
        over = min(max(self.fruitless - PATIENT_LOOKS, 0), 3)
        spacing_s = min(SPACING_S * 2.0**over, MAX_SPACING_S)
        return self.decision.wants_look(pts_s) and pts_s - self.looked_s >= spacing_s


def sighting(
    frame: Frame, face_xyxy: NDArray[np.float32], models: tuple[ModelVersion, ...]
) -> Sighting:
    picture = frame.picture
    return Sighting(
        frame.frame_number,
        frame.captured_at,
        picture.width,
        picture.height,
        face_xyxy.copy(),
        models,
    )

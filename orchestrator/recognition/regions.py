"""Where to look for a person's face, and whose face was found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.face import Faces
from orchestrator.iou import iou
from orchestrator.track import Track

Region = tuple[int, int, int, int]

# A face this many of its own sizes away from where a person's head should be is not that person's.
MAX_OFFSET = 3.0
# Two people who fit a face nearly as well as each other, in the same unit: neither gets it.
MIN_LEAD = 0.25
# Two boxes of one face, found in two people's regions, overlap by more than this.
SAME_FACE_IOU = 0.4


def head_region(person_xyxy: NDArray[np.float32], width: int, height: int) -> Region:
    """The part of a person's box that holds the head, with margin, clipped to the picture.

    A person who stands whole in the picture has the head in the upper two fifths; the nearer and wider the box,
    the more of its height is head, up to the whole box for a person who fills the picture.
    """
    x1, y1, x2, y2 = (float(value) for value in person_xyxy)
    across, down = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    depth = min(down, max(0.4 * down, 1.2 * across))
    margin = 0.1 * across
    return (
        int(np.clip(math.floor(x1 - margin), 0, width)),
        int(np.clip(math.floor(y1 - margin), 0, height)),
        int(np.clip(math.ceil(x2 + margin), 0, width)),
        int(np.clip(math.ceil(y1 + depth + margin), 0, height)),
    )


def merge(found: Sequence[Faces]) -> Faces:
    """All faces of a frame, each once, best first: overlapping regions see the same face twice."""
    if not found:
        return Faces.empty()
    faces = Faces(
        np.concatenate([f.xyxy for f in found]),
        np.concatenate([f.landmarks for f in found]),
        np.concatenate([f.confidence for f in found]),
        tuple(dict.fromkeys(model for f in found for model in f.models)),
    )
    faces = faces[np.argsort(-faces.confidence, kind="stable")]
    overlap = iou(faces.xyxy, faces.xyxy)
    kept: list[int] = []
    for i in range(len(faces)):
        if all(overlap[i, j] < SAME_FACE_IOU for j in kept):
            kept.append(i)
    return faces[np.array(kept, np.intp)]


@dataclass(frozen=True, slots=True)
class Owners:
    """`face_of` maps a track to the row of its face; `ambiguous` are rows that two people could own."""

    face_of: dict[int, int]
    ambiguous: tuple[int, ...]


def assign(faces: Faces, persons: Sequence[Track]) -> Owners:
    """Give every face to at most one person and every person at most one face, nearest first.

    All people of the frame must be given, the recognised ones too, for a face in the overlap of two boxes belongs to
    the one under whose top middle it sits. Who that is must be clear, or nobody gets it.
    """
    offsets = {
        row: {t.track_id: o for t in persons if (o := _offset(faces.xyxy[row], t)) <= MAX_OFFSET}
        for row in range(len(faces))
    }
    face_of: dict[int, int] = {}
    ambiguous: list[int] = []
    while offsets:
        row = min(offsets, key=lambda r: (min(offsets[r].values(), default=math.inf), r))
        ranked = sorted((offset, track_id) for track_id, offset in offsets.pop(row).items())
        if not ranked:
            continue
        if len(ranked) > 1 and ranked[1][0] - ranked[0][0] < MIN_LEAD:
            ambiguous.append(row)
            continue
        owner = ranked[0][1]
        face_of[owner] = row
        for others in offsets.values():
            others.pop(owner, None)
    return Owners(face_of, tuple(ambiguous))


def _offset(face_xyxy: NDArray[np.float32], person: Track) -> float:
    """How far a face is from where this person's head should be, in sizes of the face; inf outside the box."""
    x1, y1, x2, y2 = (float(value) for value in person.xyxy)
    fx1, fy1, fx2, fy2 = (float(value) for value in face_xyxy)
    middle_x, middle_y = (fx1 + fx2) / 2.0, (fy1 + fy2) / 2.0
    size = max(fx2 - fx1, fy2 - fy1, 1.0)
    # The head may stand out of a box that jitters, by a quarter of a face.
    if not (x1 <= middle_x <= x2 and y1 - size / 4.0 <= middle_y <= y2):
        return math.inf
    if fx2 - fx1 > 1.3 * (x2 - x1):
        return math.inf  # larger than the whole person
    sideways = (middle_x - (x1 + x2) / 2.0) / size
    # Hair and jitter put the top of a face anywhere within half a face of the top of its box.
    below = max(0.0, abs(fy1 - y1) / size - 0.5)
    return math.hypot(sideways, below)

"""What the real detector sees in a sample clip, and what is really there."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from orchestrator.detection import Detections
from orchestrator.inference.letterbox import letterbox
from orchestrator.picture import ArrayPicture, Picture
from tests.recognition.footage import frames

# Who can be seen from when to when in one-by-one-person-detection.mp4, in seconds, read off its frames by eye: from
# the first sliver of a head at the lower edge to the last of a heel at the right one.
VISITS = (
    (6.0, 19.7),  # a woman, grey cardigan
    (22.7, 44.9),  # a man, dark cap and jacket
    (50.2, 70.0),  # a woman, black
    (74.4, 86.9),  # a man, black T-shirt, glasses
    (92.1, 120.0),  # a woman, black hair, grey pullover
    (123.4, 135.9),  # a man, grey shirt, jeans
)
END_S = 139.4
# At their edges a visit shows a forehead or a heel: somebody who has come in is asked for.
EDGE_S = 1.2


# The motion gate thins a picture of this clip's size by as much, so that it sees the same samples in a thumbnail.
THINNED = 4


@dataclass(frozen=True, eq=False)
class Look:
    """One sampled frame, small, and its detections, weak ones too."""

    pts_s: float
    thumbnail: Picture
    detections: Detections


def looks(clip: Path, model: Path, fps: float) -> tuple[Look, ...]:
    """Run the prepared detector over a clip sampled at a rate."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return tuple(
        Look(frame.pts_s, _thumbnail(frame.picture), _detect(session, frame.picture))
        for frame in frames(clip, fps)
    )


def _thumbnail(picture: Picture) -> Picture:
    thinned = picture.rgb(picture.width, picture.height)[::THINNED, ::THINNED]
    return ArrayPicture(thinned.copy())


def _detect(session: onnxruntime.InferenceSession, picture: Picture) -> Detections:
    boxed = letterbox(picture, 320)
    names = ["count", "boxes", "scores", "labels"]
    count, boxes, scores, labels = session.run(names, {"images": boxed.image[np.newaxis]})
    n = int(count[0, 0])
    xyxy = boxed.to_source(boxes[0, :n].reshape(n, 2, 2)).reshape(n, 4)
    return Detections(xyxy, scores[0, :n], labels[0, :n])

"""How well two ways of showing a network the same pictures agree in what is found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.manifest import Pixels
from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler
from orchestrator.detection import Detections
from orchestrator.inference.letterbox import Placement
from orchestrator.inference.pixels import Tensors, decoded, planar, rgb
from orchestrator.iou import iou
from orchestrator.picture import Picture

REPORTED, CONTINUED = 0.5, 0.25


def filmed(
    clip: Path, every: int, size: tuple[int, int] | None = None, most: int = 1000
) -> list[AvPicture]:
    """Pictures as a camera's decoder leaves them; enlarged to `size`."""
    scaler = Scaler()
    found: list[AvPicture] = []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0 and len(found) < most:
                whole = frame.reformat(*size, frame.format.name) if size else frame
                if size:
                    whole.colorspace, whole.color_range = frame.colorspace, frame.color_range
                found.append(AvPicture(whole, scaler))
    return found


def sent(pixels: Pixels, picture: Picture) -> tuple[Tensors, Placement]:
    match pixels:
        case "rgb":
            return rgb(picture, 320)
        case "planar":
            return planar(picture, 320)
        case _:
            return decoded(picture)


def found_in(
    network: onnxruntime.InferenceSession, pixels: Pixels, pictures: Sequence[Picture], batch: int
) -> list[Detections]:
    found = []
    for start in range(0, len(pictures), batch):
        given, places = zip(
            *(sent(pixels, p) for p in pictures[start : start + batch]), strict=True
        )
        feed = {name: np.concatenate([tensors[name] for tensors in given]) for name in given[0]}
        names = ["count", "boxes", "scores", "labels"]
        answers = zip(*network.run(names, feed), places, strict=True)
        for count, boxes, scores, labels, place in answers:
            rows = np.flatnonzero(scores[: int(count[0])] >= CONTINUED)
            xyxy = place.to_source(boxes[rows].reshape(-1, 2, 2)).reshape(-1, 4)
            found.append(Detections(xyxy, scores[rows], labels[rows]))
    return found


@dataclass
class Agreement:
    """Of every detection reported by one: the best overlap with one of the other's, and the difference in score."""

    overlaps: NDArray[np.float32]
    differences: NDArray[np.float32]

    @classmethod
    def of(cls, one: Sequence[Detections], other: Sequence[Detections]) -> "Agreement":
        overlaps, differences = [], []
        for ours, theirs in [*zip(one, other, strict=True), *zip(other, one, strict=True)]:
            for box, score in zip(ours.xyxy, ours.confidence, strict=True):
                if score < REPORTED:
                    continue
                shared = iou(box[None], theirs.xyxy)[0] if len(theirs) else np.zeros(1)
                best = int(shared.argmax())
                overlaps.append(shared[best])
                differences.append(abs(score - theirs.confidence[best]) if len(theirs) else 1.0)
        return cls(np.array(overlaps, np.float32), np.array(differences, np.float32))

"""Whether people are found in planes as in RGB, and how far RGB itself moves when it is scaled another way."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from export.manifest import Pixels
from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler, color_range, colorspace
from orchestrator.detection import Detections
from orchestrator.picture import ArrayPicture
from tests.export.agreement import Agreement, found_in
from tests.performance.outcome import Breakdown
from tests.recognition.networks import session
from tests.servers.layouts import LAYOUTS, name_of

PLANES: dict[Pixels, str] = {"planar": "YUV, scaled", "decoded": "YUV, as decoded"}
WIDTH, HEIGHT, FACTOR = 320, 180, 6
HEADER = (
    "against RGB scaled by area",
    "detections",
    "IoU median",
    "least",
    "above 0.98",
    "score, most",
)


def agreement(clip: Path, repository: Path, every: int) -> Breakdown:
    """Of a clip in 1080p: detections of 0.5 and more, in both directions."""
    networks = {each: session(repository / name_of(each) / "1" / "model.onnx") for each in LAYOUTS}
    frames, scaler = _frames(clip, every), Scaler()
    pictures = [AvPicture(frame, scaler) for frame in frames]
    reference = found_in(networks["rgb"], "rgb", _scaled(frames, Interpolation.AREA), 1)
    rows = []
    for layout, words in PLANES.items():
        found = found_in(networks[layout], layout, pictures, 1)
        rows.append(_row(words, reference, [_smaller(each) for each in found]))
    for method in (Interpolation.BICUBIC, Interpolation.BILINEAR, Interpolation.FAST_BILINEAR):
        found = found_in(networks["rgb"], "rgb", _scaled(frames, method), 1)
        rows.append(_row(f"RGB, {method.name}", reference, found))
    return Breakdown(f"Agreement on {len(pictures)} pictures", HEADER, tuple(rows))


def _frames(clip: Path, every: int) -> list[av.VideoFrame]:
    with av.open(str(clip)) as container:
        return [f for number, f in enumerate(container.decode(video=0)) if number % every == 0]


def _scaled(frames: Sequence[av.VideoFrame], method: Interpolation) -> list[ArrayPicture]:
    return [ArrayPicture(_rgb(frame, method)) for frame in frames]


def _rgb(frame: av.VideoFrame, method: Interpolation) -> NDArray[np.uint8]:
    scaled = frame.reformat(
        WIDTH,
        HEIGHT,
        "rgb24",
        src_colorspace=colorspace(frame),
        src_color_range=color_range(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=method,
    )
    return scaled.to_ndarray().astype(np.uint8, copy=False)


def _smaller(found: Detections) -> Detections:
    return Detections(found.xyxy / np.float32(FACTOR), found.confidence, found.class_id)


def _row(words: str, one: Sequence[Detections], other: Sequence[Detections]) -> tuple[str, ...]:
    seen = Agreement.of(one, other)
    return (
        words,
        str(len(seen.overlaps)),
        f"{np.median(seen.overlaps):.4f}",
        f"{seen.overlaps.min():.3f}",
        f"{(seen.overlaps > 0.98).mean():.1%}",
        f"{seen.differences.max():.3f}",
    )

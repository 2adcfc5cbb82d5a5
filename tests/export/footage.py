"""Frames of the sample clips, as models take them."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FACE_CLIPS = ("face_again.mkv", "face_bird.mkv", "face_book.mkv", "face_eat.mkv")
PEOPLE_CLIP = "one-by-one-person-detection.mp4"


def pictures(clip: Path, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Those frames of a clip: uint8 (h, w, 3), RGB."""
    found: dict[int, NDArray[np.uint8]] = {}
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                found[number] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            if number >= max(numbers):
                break
    return [found[number] for number in numbers]


def letterboxed(picture: NDArray[np.uint8], side: int, pad: int) -> NDArray[np.uint8]:
    """Scaled to fit by picking pixels, top left in a square; every pixel is one of the source."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    rows = (np.arange(round(height * scale)) / scale).astype(np.intp).clip(max=height - 1)
    columns = (np.arange(round(width * scale)) / scale).astype(np.intp).clip(max=width - 1)
    square = np.full((side, side, 3), pad, np.uint8)
    square[: len(rows), : len(columns)] = picture[rows[:, None], columns]
    return square

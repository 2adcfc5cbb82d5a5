"""Fits a picture into a square network input and maps boxes back: scaled, top left, padded with 114."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.picture import Picture

# RTMDet was trained with this border (mmdet configs/rtmdet, Pad pad_val=114).
PAD_VALUE = 114


@dataclass(frozen=True, slots=True, eq=False)
class Letterboxed:
    """A network input and the way back.

    image   uint8 (size, size, 3), RGB
    scale   network pixels per source pixel
    left    source x of the input's left edge
    top     source y of the input's top edge
    width   source pixels shown
    height  source pixels shown
    """

    image: NDArray[np.uint8]
    scale: tuple[float, float]
    left: int
    top: int
    width: int
    height: int

    def to_source(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map network pixels (..., 2) to source pixels, clipped to the part that was shown."""
        source: NDArray[np.float32] = np.divide(
            xy, np.asarray(self.scale, np.float32), dtype=np.float32
        )
        np.clip(source, 0, np.asarray((self.width, self.height), np.float32), out=source)
        source += np.asarray((self.left, self.top), np.float32)
        return source


def letterbox(picture: Picture, size: int) -> Letterboxed:
    """The whole picture as a network input."""
    scaled_w, scaled_h = _fit(picture.width, picture.height, size)
    return Letterboxed(
        _pad(picture.rgb(scaled_w, scaled_h), size),
        (scaled_w / picture.width, scaled_h / picture.height),
        0,
        0,
        picture.width,
        picture.height,
    )


def letterbox_region(picture: Picture, region: tuple[int, int, int, int], size: int) -> Letterboxed:
    """A rectangle (x1, y1, x2, y2) of the picture as a network input; it must not be empty once clipped.

    It begins on even coordinates, which pictures of a camera scale without converting them first.
    """
    left, top = max(region[0], 0) & ~1, max(region[1], 0) & ~1
    right, bottom = min(region[2], picture.width), min(region[3], picture.height)
    width, height = right - left, bottom - top
    scaled_w, scaled_h = _fit(width, height, size)
    scaled = picture.region(left, top, right, bottom, size=(scaled_w, scaled_h))
    return Letterboxed(
        _pad(scaled, size), (scaled_w / width, scaled_h / height), left, top, width, height
    )


def _fit(width: int, height: int, size: int) -> tuple[int, int]:
    scale = size / max(width, height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _pad(scaled: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    canvas = np.full((size, size, 3), PAD_VALUE, np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas

"""Fits a picture into a square network input and maps boxes back: scaled, top left, padded with 114."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.picture import Picture

# RTMDet was trained with this border (mmdet configs/rtmdet, Pad pad_val=114).
PAD_VALUE = 114


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a network input comes from, and the way back.

    scale   network pixels per source pixel
    left    source x of the input's left edge
    top     source y of the input's top edge
    width   source pixels shown
    height  source pixels shown
    """

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


@dataclass(frozen=True, slots=True, eq=False)
class Letterboxed(Placement):
    """image  uint8 (size, size, 3), RGB."""

    image: NDArray[np.uint8]


def letterbox(picture: Picture, size: int) -> Letterboxed:
    """The whole picture as a network input."""
    scaled_w, scaled_h = fit(picture.width, picture.height, size)
    return Letterboxed(
        (scaled_w / picture.width, scaled_h / picture.height),
        0,
        0,
        picture.width,
        picture.height,
        _pad(picture.rgb(scaled_w, scaled_h), size),
    )


def letterbox_region(picture: Picture, region: tuple[int, int, int, int], size: int) -> Letterboxed:
    """A rectangle (x1, y1, x2, y2) of the picture as a network input; it must not be empty once clipped.

    It begins on even coordinates, which pictures of a camera scale without converting them first.
    """
    left, top = max(region[0], 0) & ~1, max(region[1], 0) & ~1
    right, bottom = min(region[2], picture.width), min(region[3], picture.height)
    width, height = right - left, bottom - top
    scaled_w, scaled_h = fit(width, height, size)
    scaled = picture.region(left, top, right, bottom, size=(scaled_w, scaled_h))
    scale = (scaled_w / width, scaled_h / height)
    return Letterboxed(scale, left, top, width, height, _pad(scaled, size))


def fit(width: int, height: int, size: int, *, even: bool = False) -> tuple[int, int]:
    """Width and height of a picture whose longest edge becomes `size`; even: as chroma needs it."""
    scale, step = size / max(width, height), 2 if even else 1
    return (
        max(round(width * scale / step), 1) * step,
        max(round(height * scale / step), 1) * step,
    )


def _pad(scaled: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    canvas = np.full((size, size, 3), PAD_VALUE, np.uint8)
    canvas[: scaled.shape[0], : scaled.shape[1]] = scaled
    return canvas

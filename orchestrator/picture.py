"""The pixels of one frame, converted only when somebody asks, and only as many as asked for."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.planes import Planes, colour_of


class Picture(Protocol):
    """A decoded picture in whatever layout its decoder left it.

    Every array handed out is the caller's to read and never to write to; none keeps a view into memory
    that the decoder will reuse.
    """

    @property
    def width(self) -> int:
        """Pixels of the source frame, after rotation."""
        ...

    @property
    def height(self) -> int: ...

    def luma(self, step: int) -> NDArray[np.uint8]:
        """Brightness of every `step`-th pixel: uint8 (ceil(height / step), ceil(width / step))."""
        ...

    def rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        """The whole picture scaled: uint8 (height, width, 3)."""
        ...

    def planes(self, size: tuple[int, int] | None) -> Planes:
        """The whole picture as YUV, scaled to `size` (width, height), both even; None: as it was decoded."""
        ...

    def region(
        self, x1: int, y1: int, x2: int, y2: int, *, size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """A rectangle of source pixels, clipped to the picture: uint8 (h, w, 3), RGB; may be empty.

        size  (width, height) to scale it to; then it must not be empty. Cheapest where x1 and y1 are even.
        """
        ...


class ArrayPicture:
    """A picture that already is RGB: a still image at enrolment, and the tests."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        """Take uint8 (height, width, 3), RGB. Raises ValueError on any other shape or dtype."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"a picture is uint8 (height, width, 3), got {rgb.dtype} {rgb.shape}")
        self._rgb = rgb

    @property
    def width(self) -> int:
        return int(self._rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self._rgb.shape[0])

    def luma(self, step: int) -> NDArray[np.uint8]:
        sample = self._rgb[::step, ::step].astype(np.uint16)
        # BT.601 in eighths: 2/8 red, 5/8 green, 1/8 blue.
        return ((2 * sample[..., 0] + 5 * sample[..., 1] + sample[..., 2]) >> 3).astype(np.uint8)

    def rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        if (width, height) == (self.width, self.height):
            return self._rgb
        scaled = Image.fromarray(self._rgb).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(scaled, dtype=np.uint8)

    def planes(self, size: tuple[int, int] | None) -> Planes:
        rgb = self._rgb if size is None else self.rgb(*size)
        luma, blue, red = Image.fromarray(rgb).convert("YCbCr").split()
        half = ((luma.width + 1) // 2, (luma.height + 1) // 2)
        chroma = [np.asarray(each.resize(half, Image.Resampling.BOX)) for each in (blue, red)]
        # Pillow's YCbCr is that of JPEG.
        colour = colour_of("BT.601", full_range=True)
        return Planes(np.asarray(luma), np.stack(chroma), colour)

    def region(
        self, x1: int, y1: int, x2: int, y2: int, *, size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        pixels = self._rgb[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        return pixels if size is None else ArrayPicture(pixels).rgb(*size)

"""A picture as cameras encode it: brightness at full resolution, colour at half, and what the numbers mean."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Standard = Literal["BT.601", "BT.709"]
# Share of red and blue in luma (ITU-R BT.601-7, BT.709-6).
_RED_BLUE: dict[Standard, tuple[float, float]] = {
    "BT.601": (0.299, 0.114),
    "BT.709": (0.2126, 0.0722),
}
GREY = 128
"""Both chromas of a pixel without colour."""


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Planar YUV, 4:2:0.

    luma    uint8 (height, width)
    chroma  uint8 (2, ceil(height / 2), ceil(width / 2)), U (blue) first
    colour  float32 (3, 4): what luma, U, V and 1 add to R, G, B (0..255); see `colour_of`
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    colour: NDArray[np.float32]

    def luma_of(self, grey: float) -> int:
        """The luma of a grey pixel whose R, G and B are `grey`, or nearly so."""
        gain, *chroma, shift = (float(value) for value in self.colour[0])
        return min(max(round((grey - GREY * sum(chroma) - shift) / gain), 0), 255)


@cache
def colour_of(standard: Standard, *, full_range: bool) -> NDArray[np.float32]:
    """The matrix (3, 4), read-only, of a standard.

    full_range  luma and chroma use 0..255, not 16..235 and 16..240
    """
    red, blue = _RED_BLUE[standard]
    green = 1 - red - blue
    black, gain, chroma_gain = (0.0, 1.0, 1.0) if full_range else (16.0, 255 / 219, 255 / 224)
    u_blue, v_red = 2 * (1 - blue) * chroma_gain, 2 * (1 - red) * chroma_gain
    mixing = np.array(
        [
            [gain, 0.0, v_red],
            [gain, -u_blue * blue / green, -v_red * red / green],
            [gain, u_blue, 0.0],
        ]
    )
    shift = -mixing @ np.array([black, GREY, GREY])
    colour: NDArray[np.float32] = np.column_stack([mixing, shift]).astype(np.float32)
    colour.flags.writeable = False
    return colour

"""A decoded picture, left in the decoder's layout until somebody asks for pixels."""

from contextlib import suppress

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from orchestrator.capture.scaler import Scaler, Whole, colour, plane_rows, rgb_rows
from orchestrator.picture import ArrayPicture
from orchestrator.planes import Planes

# Shift of columns (in bytes) and rows of each plane against the picture, for formats that are read directly.
_PLANES: dict[str, tuple[tuple[int, int], ...]] = {
    "yuv420p": ((0, 0), (1, 1), (1, 1)),
    "yuvj420p": ((0, 0), (1, 1), (1, 1)),
    "yuv422p": ((0, 0), (1, 0), (1, 0)),
    "yuvj422p": ((0, 0), (1, 0), (1, 0)),
    "nv12": ((0, 0), (0, 1)),
}
# Three planes, chroma at half the resolution both ways.
_HALVED = ("yuv420p", "yuvj420p")


class AvPicture:
    """`orchestrator.picture.Picture` over a frame of PyAV.

    While it is held it keeps one decoded frame in memory (3 MB at 1080p), and nothing else of the decoder.
    """

    def __init__(self, frame: av.VideoFrame, scaler: Scaler) -> None:
        self._frame = frame
        self._scaler = scaler
        # Counter-clockwise quarter turns that set the picture upright, after which it may be mirrored, left to right.
        self._mirrored = scaler.mirrors(frame)
        # A mirrored picture's x axis points the other way.
        degrees = -180 - frame.rotation if self._mirrored else frame.rotation
        self._turns = round(degrees / 90) % 4
        self._ahead: tuple[Whole, av.VideoFrame] | None = None

    def scale_ahead(self) -> None:
        """Scale it as the last picture was wanted, if it was, while the processor's cache still holds it.

        Called by the decode thread; a scene that nobody looks at costs nothing. What cannot be scaled is told to
        whoever asks for it, where the frame is accounted for.
        """
        wanted, self._scaler.asked = self._scaler.asked, None
        if wanted is None:
            return
        with suppress(FFmpegError):
            self._ahead = wanted, self._scaler.whole(self._frame, wanted)

    @property
    def width(self) -> int:
        return self._frame.height if self._turns % 2 else self._frame.width

    @property
    def height(self) -> int:
        return self._frame.width if self._turns % 2 else self._frame.height

    def luma(self, step: int) -> NDArray[np.uint8]:
        frame = self._planar()
        sample = plane_rows(frame.planes[0])[: frame.height, : frame.width]
        # Turned first, then sampled: row and column 0 of the result are those of the upright picture.
        return self._turned(sample)[::step, ::step].copy()

    def rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        if self._turns % 2:
            width, height = height, width
        return self._upright(rgb_rows(self._whole(Whole("rgb", width, height))))

    def planes(self, size: tuple[int, int] | None) -> Planes:
        frame, turned = self._frame, self._turns % 2
        if size is not None or frame.format.name not in _HALVED:
            wide, high = size or (self.width, self.height)
            frame = self._whole(Whole("yuv", *((high, wide) if turned else (wide, high))))
        luma, *chroma = (
            self._turned(plane_rows(plane)[: plane.height, : plane.width]) for plane in frame.planes
        )
        return Planes(luma, np.stack(chroma), colour(self._frame))

    def region(
        self, x1: int, y1: int, x2: int, y2: int, *, size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        x1, x2 = max(x1, 0), min(x2, self.width)
        y1, y2 = max(y1, 0), min(y2, self.height)
        if x1 >= x2 or y1 >= y2:
            return np.empty((max(y2 - y1, 0), max(x2 - x1, 0), 3), np.uint8)
        if size is not None and (self._turns or self._mirrored or x1 % 2 or y1 % 2):
            return ArrayPicture(self.region(x1, y1, x2, y2)).rgb(*size)
        return self._upright(self._cut(*self._lying(x1, y1, x2, y2), size))

    def _cut(
        self, x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] | None
    ) -> NDArray[np.uint8]:
        """A rectangle that is not empty, in coordinates of the frame as it was decoded.

        With `size` it must begin on even coordinates.
        """
        frame = self._planar()
        # Chroma covers two pixels, so the cut begins on an even one and the rest is thrown away afterwards.
        left, top = x1 & ~1, y1 & ~1
        planes = [
            plane_rows(frame.planes[index])[
                top >> down : _half_up(y2, down), left >> across : _half_up(x2, across)
            ]
            for index, (across, down) in enumerate(_PLANES[frame.format.name])
        ]
        rgb = self._scaler.crop(planes, x2 - left, y2 - top, size, like=frame)
        return rgb if size else rgb[y1 - top :, x1 - left :]

    def _lying(self, x1: int, y1: int, x2: int, y2: int) -> tuple[int, int, int, int]:
        """A rectangle of the upright picture in coordinates of the frame as it was decoded."""
        if self._mirrored:
            x1, x2 = self.width - x2, self.width - x1
        width, height = self._frame.width, self._frame.height
        match self._turns:
            case 1:
                return width - y2, x1, width - y1, x2
            case 2:
                return width - x2, height - y2, width - x1, height - y1
            case 3:
                return y1, height - x2, y2, height - x1
            case _:
                return x1, y1, x2, y2

    def _whole(self, wanted: Whole) -> av.VideoFrame:
        self._scaler.asked = wanted
        ahead, self._ahead = self._ahead, None  # handed out once: whoever gets it may draw on it
        if ahead is not None and ahead[0] == wanted:
            return ahead[1]
        return self._scaler.whole(self._frame, wanted)

    def _planar(self) -> av.VideoFrame:
        if self._frame.format.name not in _PLANES:
            self._frame = self._scaler.planar(self._frame)
        return self._frame

    def _upright(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._turned(rgb))

    def _turned(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turned = np.rot90(rows, self._turns)
        return turned[:, ::-1] if self._mirrored else turned


def _half_up(end: int, shift: int) -> int:
    return (end + shift) >> shift

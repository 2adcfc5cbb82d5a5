"""Turns planes of one camera's pictures into RGB; held for the camera's life, across reconnects.

A libswscale context costs megabytes and is slow to build, so each camera has its own and no picture has its own.
"""

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from orchestrator.planes import Standard, colour_of

# Above this, two-tap sampling skips source pixels. Measured, 1080p to 320x180 on one core: FAST_BILINEAR
# 0.44 ms, AREA 0.87, BILINEAR 1.24, BICUBIC 1.78 (docs/decisions/0004-capture.md).
AREA_ABOVE = 2.0
# AVColorSpace values that use the coefficients of BT.709; the others are treated as BT.601.
_BT709 = 1
_UNSPECIFIED = 2


@dataclass(frozen=True, slots=True)
class Whole:
    """How a whole frame is wanted; the size is that before it is turned upright."""

    kind: Literal["rgb", "yuv"]
    width: int
    height: int


class _Shared:
    """A reformatter, and a lock of its own: the loop that cuts out a face waits for no decode thread that scales."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._lock = threading.Lock()

    def __enter__(self) -> VideoReformatter:
        self._lock.acquire()
        return self._reformatter

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Scaler:
    """Safe to be used from several threads: the decode thread, the event loop, an executor.

    asked  how the newest picture that was asked for whole was wanted, until the next one is scaled ahead
    """

    def __init__(self) -> None:
        self.asked: Whole | None = None
        self._mirrors: bool | None = None
        self._whole = _Shared()
        self._region = _Shared()
        self._planar = _Shared()
        self._yuv = _Shared()

    def mirrors(self, frame: av.VideoFrame) -> bool:
        """Whether the stream shows its pictures mirrored, as phones store what their front camera sees.

        Only the first that is turned is looked at: its side data holds it in a circle until the cyclic collector runs.
        """
        if not frame.rotation:
            return False
        if self._mirrors is None:
            # The stub does not say that side data is a buffer.
            matrix = cast(bytes | None, frame.side_data.get("DISPLAYMATRIX"))
            a, b, _, c, d = struct.unpack_from("=5i", matrix) if matrix else (0,) * 5
            self._mirrors = a * d < b * c
        return self._mirrors

    def whole(self, frame: av.VideoFrame, wanted: Whole) -> av.VideoFrame:
        """The whole frame at another size: rgb24, or yuv420p whose numbers mean what they meant."""
        if wanted.kind == "yuv":
            return self._to_yuv(frame, wanted.width, wanted.height)
        with self._whole as reformatter:
            return _to_rgb(reformatter, frame, wanted.width, wanted.height, frame)

    def crop(
        self,
        planes: Sequence[NDArray[np.uint8]],
        width: int,
        height: int,
        size: tuple[int, int] | None,
        *,
        like: av.VideoFrame,
    ) -> NDArray[np.uint8]:
        """Planes cut out of a frame, in its pixel format: uint8 (height, width, 3), or of `size` (width, height).

        Copying them and using libswscale takes a fifteenth of what numpy or Pillow take.
        """
        cut = av.VideoFrame(width, height, like.format.name)
        for target, source in zip(cut.planes, planes, strict=True):
            rows = plane_rows(target)
            rows[: source.shape[0], : source.shape[1]] = source
        with self._region as reformatter:
            return rgb_rows(_to_rgb(reformatter, cut, *(size or (width, height)), like))

    def planar(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame as yuv420p, for formats whose planes are not read directly."""
        with self._planar as reformatter:
            return reformatter.reformat(frame, format="yuv420p", threads=1)

    def _to_yuv(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        standard, extent = colorspace(frame), color_range(frame)
        with self._yuv as reformatter:
            return reformatter.reformat(
                frame,
                width,
                height,
                "yuv420p",
                src_colorspace=standard,
                dst_colorspace=standard,
                src_color_range=extent,
                dst_color_range=extent,
                interpolation=_method(frame, width, height),
                threads=1,
            )


def _to_rgb(
    reformatter: VideoReformatter,
    frame: av.VideoFrame,
    width: int,
    height: int,
    like: av.VideoFrame,
) -> av.VideoFrame:
    return reformatter.reformat(
        frame,
        width,
        height,
        "rgb24",
        src_colorspace=colorspace(like),
        src_color_range=color_range(like),
        dst_color_range=ColorRange.JPEG,
        interpolation=_method(frame, width, height),
        threads=1,  # the default starts a pool of threads for every context
    )


def _method(frame: av.VideoFrame, width: int, height: int) -> Interpolation:
    factor = max(frame.width / width, frame.height / height)
    return Interpolation.AREA if factor > AREA_ABOVE else Interpolation.FAST_BILINEAR


def plane_rows(plane: VideoPlane) -> NDArray[np.uint8]:
    """A plane with its padding: uint8 (rows, line size). A view into the frame's memory."""
    # The stub does not say that a plane is a buffer; writable, although `bytes` would not be.
    buffer = cast(bytes, plane)
    return np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)


def rgb_rows(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Of a frame in rgb24: uint8 (height, width, 3). A view into the frame's memory."""
    rows = plane_rows(frame.planes[0])[: frame.height, : frame.width * 3]
    return rows.reshape(frame.height, frame.width, 3)


def colorspace(frame: av.VideoFrame) -> Colorspace:
    """What the frame says, and where it says nothing what players assume: BT.709 from 720 lines on."""
    if frame.colorspace == _UNSPECIFIED:
        return Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return Colorspace.ITU709 if frame.colorspace == _BT709 else Colorspace.ITU601


def color_range(frame: av.VideoFrame) -> ColorRange:
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return ColorRange.JPEG if full else ColorRange.MPEG


def colour(frame: av.VideoFrame) -> NDArray[np.float32]:
    """What the numbers of a frame, or of one that `Scaler` made of it, mean; see `orchestrator.planes.Planes`."""
    standard: Standard = "BT.709" if colorspace(frame) == Colorspace.ITU709 else "BT.601"
    return colour_of(standard, full_range=color_range(frame) == ColorRange.JPEG)

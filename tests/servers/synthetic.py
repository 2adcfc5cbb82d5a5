"""Clips that need no sample footage: a box that moves over a fixed background, and the picture's number in it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

# The number stands in the top row as 16 black or white squares, least significant bit first.
BITS = 16
SQUARE_PX = 16


def draw(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Picture `number`: uint8 (height, width, 3), RGB. At least 256 x 64."""
    noise = np.random.default_rng(7).integers(
        60, 120, (height // 8 + 1, width // 8 + 1, 1), np.uint8
    )
    picture = noise.repeat(8, 0).repeat(8, 1).repeat(3, 2)[:height, :width].copy()
    side = height // 4
    left = (number * 8) % (width - side)
    picture[height // 2 : height // 2 + side, left : left + side] = (200, 40, 40)
    for bit in range(BITS):
        shade = 235 if number >> bit & 1 else 16
        picture[:SQUARE_PX, bit * SQUARE_PX : (bit + 1) * SQUARE_PX] = shade
    return picture


def number_of(luma: NDArray[np.uint8]) -> int:
    """The number drawn in a picture, from its brightness at full size: uint8 (height, width)."""
    middle = SQUARE_PX // 2
    squares = luma[middle, middle : BITS * SQUARE_PX : SQUARE_PX]
    return sum(1 << bit for bit, shade in enumerate(squares) if shade > 127)


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    width: int = 320,
    height: int = 240,
    fps: int = 25,
    pictures: int = 50,
    gop: int = 25,
    b_frames: int = 0,
    pix_fmt: str = "yuv420p",
    first: int = 0,
    start_s: float = 0.0,
) -> Path:
    """Encode pictures `first` and following, stamped from `start_s`. The suffix of `path` chooses the container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, VideoStream)
        _shape(stream, width, height, pix_fmt)
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if codec == "libx265":
            quiet = f"log-level=none:pools=none:bframes={b_frames}:keyint={gop}:min-keyint={gop}"
            stream.options = {"preset": "ultrafast", "x265-params": quiet}
        elif codec == "libx264":
            stream.options = {"preset": "ultrafast", "sc_threshold": "0", "threads": "1"}
        for number in range(first, first + pictures):
            frame = av.VideoFrame.from_ndarray(draw(number, width, height), "rgb24")
            frame.pts = number - first + round(start_s * fps)
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_1080p_clip(path: Path, source: Path | None = None, *, pictures: int = 500) -> Path:
    """A camera's usual stream, for measurements: 1080p25 H.264, 4 Mbit/s, a keyframe every 2 s, no B-frames.

    Enlarged from `source` where one is given, so that it has a real picture's detail and motion.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        _shape(stream, 1920, 1080, "yuv420p")
        stream.codec_context.gop_size = 50
        stream.codec_context.max_b_frames = 0
        stream.codec_context.bit_rate = 4_000_000
        stream.options = {"preset": "veryfast", "maxrate": "4M", "bufsize": "4M"}
        for number, frame in enumerate(_enlarged(source, pictures)):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _enlarged(source: Path | None, pictures: int) -> "list[av.VideoFrame]":
    if source is None:
        return [
            av.VideoFrame.from_ndarray(draw(number, 1920, 1080), "rgb24")
            for number in range(pictures)
        ]
    with av.open(str(source)) as container:
        found = []
        for frame in container.decode(video=0):
            found.append(frame.reformat(1920, 1080, "yuv420p"))
            if len(found) == pictures:
                break
    return found


def _shape(stream: VideoStream, width: int, height: int, pix_fmt: str) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt

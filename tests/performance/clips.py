"""The streams of the measured cameras: sample footage as a camera of today would send it.

H.264, 25 pictures a second, a keyframe every two seconds, no B-frames; true to the footage's own time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

FPS = 25


@dataclass(frozen=True, slots=True)
class Format:
    """bit_rate: bits a second."""

    width: int
    height: int
    bit_rate: int


FOUR_K = Format(3840, 2160, 12_000_000)
FULL_HD = Format(1920, 1080, 4_000_000)
HD = Format(1280, 720, 2_000_000)
SMALL = Format(640, 360, 800_000)


def stream_of(
    source: Path, target: Path, seconds: float, form: Format = FULL_HD, begin_s: float = 0.0
) -> Path:
    """Write `seconds` of a clip, from `begin_s` on, as such a stream, unless it is there already."""
    return _written(target, form, _pictures(source, begin_s, seconds, form))


def composed_of(
    sources: Sequence[Path], columns: int, target: Path, seconds: float, form: Format = FULL_HD
) -> Path:
    """The same of several clips side by side, row by row, each 4:3 in the middle of its cell."""
    height, cell = form.height // columns, form.width // columns
    width = height * 4 // 3
    tile = Format(width, height, 0)

    def pictures() -> Iterator[av.VideoFrame]:
        canvas = np.full((form.height, form.width, 3), 96, np.uint8)
        films = [_pictures(source, 0.0, seconds, tile) for source in sources]
        for row in zip(*films, strict=True):
            for number, picture in enumerate(row):
                top = number // columns * height
                left = number % columns * cell + (cell - width) // 2
                canvas[top : top + height, left : left + width] = picture.to_ndarray(format="rgb24")
            yield av.VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p")

    return _written(target, form, pictures())


def _written(target: Path, form: Format, pictures: Iterator[av.VideoFrame]) -> Path:
    if target.is_file():
        return target
    part = target.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        stream.codec_context.gop_size = 2 * FPS
        stream.codec_context.max_b_frames = 0
        stream.codec_context.bit_rate = form.bit_rate
        limit = str(form.bit_rate)
        stream.options = {"preset": "veryfast", "maxrate": limit, "bufsize": limit}
        for number, frame in enumerate(pictures):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    part.replace(target)
    return target


def _pictures(
    source: Path, begin_s: float, seconds: float, form: Format
) -> Iterator[av.VideoFrame]:
    """25 pictures a second, each the newest that the footage shows at that time; from its begin again at its end."""
    wanted = round(seconds * FPS)
    given = 0
    while given < wanted:
        with av.open(str(source)) as container:
            for frame in container.decode(video=0):
                shown_until_s = float(frame.time or 0.0) + 1.0 / float(
                    container.streams.video[0].average_rate or FPS
                )
                large: av.VideoFrame | None = None
                while given < wanted and begin_s + given / FPS < shown_until_s:
                    large = large or frame.reformat(form.width, form.height, "yuv420p")
                    yield large
                    given += 1
                if given >= wanted:
                    return
        begin_s = -given / FPS

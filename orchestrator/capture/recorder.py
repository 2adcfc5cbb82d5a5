"""Writes pictures into an MP4 file, H.264, with the time each was shown."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from orchestrator.errors import SettingsError

TIME_BASE = Fraction(1, 90_000)


class Recorder:
    """A video that is complete once closed; until then it stands beside its place under another name."""

    def __init__(self, path: Path, fps: float) -> None:
        """Prepare; the file is begun with the first picture, which gives its size."""
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._fps = fps
        self._open: tuple[OutputContainer, VideoStream] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open is None:
            return
        container, stream = self._open
        try:
            if kind is None:
                self._mux(container, stream.encode())
            container.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, rgb: NDArray[np.uint8], pts_s: float) -> None:
        """Add a picture, uint8 (height, width, 3), shown from `pts_s` on; odd edges are cut off.

        Raises SettingsError where no file can be written.
        """
        height, width = rgb.shape[0] & ~1, rgb.shape[1] & ~1
        container, stream = self._open or self._begin(width, height)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), "rgb24")
        if (width, height) != (stream.width, stream.height):
            frame = frame.reformat(stream.width, stream.height)
        frame.pts = round(pts_s / TIME_BASE)
        frame.time_base = TIME_BASE
        self._mux(container, stream.encode(frame))

    def _mux(self, container: OutputContainer, packets: "list[av.Packet[VideoStream]]") -> None:
        try:
            container.mux(packets)
        except av.FFmpegError as error:
            raise SettingsError(f"{self._path} cannot be written: {error.strerror}") from error

    def _begin(self, width: int, height: int) -> tuple[OutputContainer, VideoStream]:
        # Bit-exact: no creation time in the file, so that the same pictures give the same bytes.
        options = {"fflags": "+bitexact"}
        container = av.open(str(self._part), "w", format="mp4", options=options)
        stream = container.add_stream("libx264", rate=Fraction(self._fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        # For the same reason one thread, and no macroblock tree: x264's assembler for it reads memory that
        # nobody wrote, and so the bits depended on what the process had done before.
        stream.codec_context.thread_count = 1
        stream.options = {"mbtree": "0"}
        self._open = (container, stream)
        return self._open

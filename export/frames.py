"""Pictures of clips and photographs, as a camera's decoder leaves them."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from orchestrator.capture.picture import AvPicture
from orchestrator.capture.scaler import Scaler
from orchestrator.errors import ModelError
from orchestrator.inference.letterbox import letterbox
from orchestrator.picture import ArrayPicture, Picture

T = TypeVar("T")
SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".jpg", ".jpeg", ".png", ".bmp"})


def gather(sources: Sequence[Path], count: int, size: int) -> NDArray[np.uint8]:
    """About `count` pictures as clients send them in RGB: uint8 (n, size, size, 3). Raises ModelError."""
    return np.stack(shown(sources, count, lambda picture: letterbox(picture, size).image))


def shown(sources: Sequence[Path], count: int, form: Callable[[Picture], T]) -> list[T]:
    """About `count` pictures, spread over all sources.

    Args:
        sources: clips, photographs, and folders of them.
        count: at most so many, evenly over the length of each clip.
        form: what is kept of a picture; a decoded one takes megabytes.

    Raises:
        ModelError: nothing to be seen, or a file that is no picture.
    """
    files = sorted({file for source in sources for file in _files(source)})
    if not files:
        raise ModelError(f"{', '.join(map(str, sources))}: no clips or photographs there")
    share = -(-count // len(files))
    each = [_spread(file, share, form) for file in files[:count]]
    turns = [kept for turn in zip_longest(*each) for kept in turn if kept is not None]
    return turns[:count]


def picture_of(file: Path) -> ArrayPicture:
    """A photograph, whole. Raises ModelError."""
    try:
        with av.open(str(file)) as container:
            frame = next(container.decode(video=0))
            return ArrayPicture(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise ModelError(f"{file}: is no photograph: {error}") from error


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return [file for file in source.iterdir() if file.suffix.lower() in SUFFIXES]
    return [source]


def _spread(file: Path, count: int, form: Callable[[Picture], T]) -> list[T]:
    found: list[T] = []
    scaler = Scaler()
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            total = _length(container, stream)
            wanted = {int((number + 0.5) * total / count) for number in range(count)}
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    found.append(form(AvPicture(frame, scaler)))
                if number >= max(wanted):
                    break
    except (av.FFmpegError, IndexError) as error:
        raise ModelError(f"{file}: is no clip or photograph: {error}") from error
    if not found:
        raise ModelError(f"{file}: holds no picture")
    return found


def _length(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Frames of a clip, as far as its file says; 1 for a photograph."""
    if stream.frames:
        return stream.frames
    if container.duration is None or stream.average_rate is None:
        return 1
    # The container counts in microseconds. One less: the last frame may be missing.
    return max(1, int(container.duration / 1e6 * stream.average_rate) - 1)

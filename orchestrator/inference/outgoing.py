"""What a connection may send: messages cut into frames, as far as the server's windows reach (RFC 9113, 5.2)."""

from orchestrator.inference import frames
from orchestrator.inference.frames import ProtocolError, head
from orchestrator.inference.stream import Buffer, Stream


class Outgoing:
    """Messages leave in the order of their calls; those that have no room wait, and no other waits for them."""

    def __init__(self) -> None:
        self._waiting: dict[int, Stream] = {}
        self._window = self.first_window = frames.DEFAULT_WINDOW
        self._frame_bytes = frames.FRAME_BYTES

    def fill(self, parts: list[Buffer], stream: Stream) -> None:
        """Add as much of a message as there is room for; the rest waits."""
        room = min(stream.unsent, self._window, stream.window)
        while room > 0:
            size = min(self._frame_bytes, room)
            end = frames.END_STREAM if size == stream.unsent else 0
            parts.append(head(size, frames.DATA, end, stream.number))
            parts += stream.take(size)
            self._window -= size
            stream.window -= size
            room -= size
        if stream.unsent:
            self._waiting[stream.number] = stream
        else:
            self._waiting.pop(stream.number, None)

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def more(self) -> bytes:
        """What waited, as far as there is room now."""
        parts: list[Buffer] = []
        for stream in tuple(self._waiting.values()):
            self.fill(parts, stream)
        return b"".join(parts)

    def forget(self, stream: Stream) -> None:
        self._waiting.pop(stream.number, None)

    def widen(self, step: int) -> None:
        """The window that all streams share."""
        self._window += step

    def set_frames(self, size: int) -> None:
        """Raises ProtocolError."""
        if not frames.FRAME_BYTES <= size <= frames.LARGEST_FRAME_BYTES:
            raise ProtocolError(f"frames of {size} bytes")
        self._frame_bytes = size

    def set_first_window(self, size: int) -> int:
        """Of every stream, also of those there are: the step for these. Raises ProtocolError."""
        if size > frames.LARGEST_WINDOW:
            raise ProtocolError(f"a window of {size} bytes")
        step, self.first_window = size - self.first_window, size
        return step

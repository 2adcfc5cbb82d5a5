"""The other end of a connection, without a socket: says what a test tells it, and keeps what it is told."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from hpack import Decoder, Encoder

from orchestrator.inference import frames
from orchestrator.inference.connection import Connection
from orchestrator.inference.frames import Frame, frame

OPENING: Mapping[int, int] = {}


class Wire(asyncio.Transport):
    """written: all bytes, in order; closed: by whichever way."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        super().__init__({"socket": self.socket})
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Peer:
    """A server that has been connected to."""

    def __init__(self, opening: Mapping[int, int] = OPENING, *, opened: bool = True) -> None:
        self.lost = 0
        self.connection = Connection(self._on_lost)
        self.wire = Wire()
        with self.wire.socket:  # it is tuned, and nothing goes through it
            self.connection.connection_made(self.wire)
        self._read = 0
        if opened:
            self.says(frame(frames.SETTINGS, 0, 0, frames.settings(opening)))

    def _on_lost(self, _: Connection) -> None:
        self.lost += 1

    def says(self, data: bytes) -> None:
        """Also in pieces of any size, as a socket gives them."""
        while data:
            room = self.connection.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.connection.buffer_updated(size)
            data = data[size:]

    def widens(self, stream: int, step: int) -> None:
        self.says(frame(frames.WINDOW_UPDATE, 0, stream, frames.number(step)))

    def answers(self, stream: int, message: bytes, *, status: int = 0, words: str = "") -> None:
        self.says(headers(stream, {":status": "200", "content-type": "application/grpc"}))
        content = b"\0" + len(message).to_bytes(4, "big") + message
        for begin in range(0, len(content), frames.FRAME_BYTES):
            part = content[begin : begin + frames.FRAME_BYTES]
            self.says(frame(frames.DATA, 0, stream, part))
        self.says(ending(stream, status, words))

    def hears(self) -> list[Frame]:
        """The frames that came since it was asked last."""
        if not self._read:
            assert self.wire.written.startswith(frames.PREFACE)
            self._read = len(frames.PREFACE)
        found = []
        while self._read < len(self.wire.written):
            high, low, kind, flags, stream = frames.HEAD.unpack_from(self.wire.written, self._read)
            begin = self._read + frames.HEAD.size
            self._read = begin + (high << 8 | low)
            found.append(Frame(kind, flags, stream, bytes(self.wire.written[begin : self._read])))
        return found


def headers(stream: int, fields: Mapping[str, str], *, flags: int = frames.END_HEADERS) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(frames.HEADERS, flags, stream, encoder.encode(list(fields.items())))


def ending(stream: int, status: int, words: str = "") -> bytes:
    fields = {"grpc-status": str(status), **({"grpc-message": words} if words else {})}
    return headers(stream, fields, flags=frames.END_HEADERS | frames.END_STREAM)


def fields_of(given: Frame) -> dict[bytes, bytes]:
    return {header[0]: header[1] for header in Decoder().decode(given.payload, raw=True)}

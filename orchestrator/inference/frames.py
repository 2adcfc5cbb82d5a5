"""Frames of HTTP/2 (RFC 9113, section 4), as far as a client that asks one gRPC server needs them."""

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types of frames.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
# Flags.
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
# Settings.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = (
    1,
    2,
    3,
    4,
    5,
)
# Codes of RST_STREAM and GOAWAY.
NO_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0x0, 0x7, 0x8, 0xB

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
# Ours; a server may send no larger one. The server's own is in its settings, and at least as large.
FRAME_BYTES = 16_384
LARGEST_FRAME_BYTES = 2**24 - 1
READ_BYTES = 65_536

HEAD = struct.Struct(">HBBBI")
SETTING = struct.Struct(">HI")
STREAM_ID = 2**31 - 1


class ProtocolError(Exception):
    """The other side does not speak HTTP/2 as it is written: the connection is of no use any more."""


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes before a payload."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return head(len(payload), kind, flags, stream_id) + payload


def number(value: int) -> bytes:
    """A payload of four bytes: the step of a window, a code."""
    return value.to_bytes(4, "big")


def settings(values: Mapping[int, int]) -> bytes:
    return b"".join(SETTING.pack(name, value) for name, value in values.items())


class Incoming:
    """Cuts what a socket gives into frames. Holds one frame and one read, and no more."""

    def __init__(self) -> None:
        self._memory = bytearray(READ_BYTES + FRAME_BYTES + HEAD.size)
        self._end = 0

    def room(self) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self._memory)[self._end :]

    def frames(self, count: int) -> Iterator[Frame]:
        """The frames that are whole now that `count` more bytes are there. Raises ProtocolError."""
        self._end += count
        start = 0
        while self._end - start >= HEAD.size:
            high, low, kind, flags, stream_id = HEAD.unpack_from(self._memory, start)
            length = high << 8 | low
            if length > FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes, or no HTTP/2 at all")
            begin = start + HEAD.size
            if begin + length > self._end:
                break
            start = begin + length
            payload = bytes(memoryview(self._memory)[begin:start])
            yield Frame(kind, flags, stream_id & STREAM_ID, payload)
        rest = self._end - start
        self._memory[:rest] = self._memory[start : self._end]
        self._end = rest


def unpadded(given: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises ProtocolError."""
    payload, padding = given.payload, 0
    if given.flags & PADDED:
        if not payload:
            raise ProtocolError("a padded frame without a length of padding")
        padding, payload = payload[0], payload[1:]
    if given.kind == HEADERS and given.flags & PRIORITY:
        payload = payload[5:]
    if padding > len(payload):
        raise ProtocolError("a frame with more padding than it is long")
    return payload[: len(payload) - padding] if padding else payload

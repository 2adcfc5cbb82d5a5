"""How a gRPC call ended, read from the headers that end it (grpc/doc/PROTOCOL-HTTP2.md, statuscodes.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from urllib.parse import unquote

from hpack import Decoder, HPACKError

from orchestrator.inference.frames import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    REFUSED_STREAM,
    ProtocolError,
)


class Status(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallFailed(Exception):
    """A call that ended without an answer; `details` are the server's words, or ours where it said nothing."""

    def __init__(self, status: Status, details: str) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status = status
        self.details = details


# Of a server, or something before it, that answers without a status of gRPC (grpc/doc/http-grpc-status-mapping.md).
OF_HTTP: Mapping[int, Status] = MappingProxyType(
    {
        400: Status.INTERNAL,
        401: Status.UNAUTHENTICATED,
        403: Status.PERMISSION_DENIED,
        404: Status.UNIMPLEMENTED,
        429: Status.UNAVAILABLE,
        502: Status.UNAVAILABLE,
        503: Status.UNAVAILABLE,
        504: Status.UNAVAILABLE,
    }
)
OF_RESET: Mapping[int, Status] = MappingProxyType(
    {
        NO_ERROR: Status.INTERNAL,
        REFUSED_STREAM: Status.UNAVAILABLE,
        CANCEL: Status.CANCELLED,
        ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    }
)
# Headers that are remembered by their bytes; nearly all answers begin and end alike.
REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Said:
    """What a block of headers says. None: nothing."""

    http: int | None
    status: Status | None
    details: str

    def failure(self) -> CallFailed | None:
        """Of the block that ends a call."""
        if self.status is Status.OK:
            return None
        if self.status is not None:
            return CallFailed(self.status, self.details)
        if self.http is not None and self.http != 200:
            return CallFailed(OF_HTTP.get(self.http, Status.UNKNOWN), f"HTTP {self.http}")
        return CallFailed(Status.UNKNOWN, "an answer without a status of gRPC")


class Headers:
    """Reads blocks of headers (RFC 7541) of a server that was told to keep no table of them.

    So each block says everything itself, and one that was read before need not be read again.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Said] = {}

    def read(self, block: bytes) -> Said:
        """Raises ProtocolError."""
        said = self._known.get(block)
        if said is None:
            said = _read(block)
            if len(self._known) < REMEMBERED:
                self._known[block] = said
        return said


def _read(block: bytes) -> Said:
    try:
        found = {header[0]: header[1] for header in Decoder().decode(block, raw=True)}
        http, status = found.get(b":status"), found.get(b"grpc-status")
        return Said(
            None if http is None else int(http),
            None if status is None else _status(int(status)),
            unquote(found.get(b"grpc-message", b"")),
        )
    except (HPACKError, ValueError) as error:
        raise ProtocolError(f"headers that cannot be read: {error}") from error


def _status(number: int) -> Status:
    return Status(number) if number in Status.__members__.values() else Status.UNKNOWN


def head_of(authority: str, path: str) -> bytes:
    """The block of headers of a call: every field literal and none indexed, so that it is always the same."""
    return b"".join(
        _literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "fess"),
        )
    )


def _literal(name: str, value: str) -> bytes:
    return b"\x00" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    """RFC 7541, sections 5.1 and 5.2, without Huffman's code."""
    raw = text.encode()
    if len(raw) < 0x7F:
        return bytes((len(raw),)) + raw
    rest, length = len(raw) - 0x7F, bytearray((0x7F,))
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes(length) + raw

"""How records lie in a spool file: each with its length and checksum, so that a torn write is seen.

File: MAGIC, then frames. Frame: length of the body, CRC-32 of the body (both little-endian uint32),
body. Body: msgpack [sequence, event_type, key, event_id, timestamp_s, payload].
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from eventbus.bus import Record
from eventbus.topics import Topics

MAGIC = b"FESSOB1\n"
_HEAD = struct.Struct("<II")
_MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its place in the order of hand-over."""

    sequence: int
    record: Record


def frame(entry: Entry) -> bytes:
    record = entry.record
    body: bytes = msgpack.packb(
        [
            entry.sequence,
            record.event_type,
            record.key,
            record.event_id,
            record.timestamp_s,
            record.payload,
        ]
    )
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def entries(data: bytes, topics: Topics) -> Iterator[Entry | None]:
    """Read a file's frames; None once, at the end, for whatever follows the last whole frame."""
    if not data.startswith(MAGIC):
        if data:
            yield None
        return
    at = len(MAGIC)
    while at < len(data):
        body = _body(data, at)
        entry = None if body is None else _entry(body, topics)
        yield entry
        if body is None or entry is None:
            return
        at += _HEAD.size + len(body)


def _body(data: bytes, at: int) -> bytes | None:
    if len(data) - at < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + length]
    if length > _MAX_BODY or len(body) != length or zlib.crc32(body) != checksum:
        return None
    return body


def _entry(body: bytes, topics: Topics) -> Entry | None:
    try:
        fields: Any = msgpack.unpackb(body)
        sequence, event_type, key, event_id, timestamp_s, payload = fields
        return Entry(
            int(sequence),
            Record(
                topics.of(event_type), key, event_id, event_type, bytes(payload), float(timestamp_s)
            ),
        )
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return None  # written by a later version, or by nobody of ours

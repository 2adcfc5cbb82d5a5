"""One HTTP/2 connection to a gRPC server, on which every call is a stream: one message there, one message back.

Written here because grpc.aio costs two to three times the CPU, and three threads between the socket and the event
loop: docs/decisions/0023-calls-over-our-own-http2.md. What is promised of it: nothing is cancelled on the wire unless
`Stream.reset` says so, every buffer is bounded, and whatever a server sends ends in an answer or in CallFailed.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from orchestrator.inference import frames
from orchestrator.inference.frames import Frame, Incoming, ProtocolError, frame, head
from orchestrator.inference.outgoing import Outgoing
from orchestrator.inference.status import OF_RESET, CallFailed, Headers, Said, Status
from orchestrator.inference.stream import Buffer, Stream

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
LARGEST_HEADERS_BYTES = 65_536
MOST_UNSENT_BYTES = 256 * 1024 * 1024
# What a server may send before it hears from us, on a stream and on all of them; told again once half is used up.
WINDOW_BYTES = 2**30
# A host that is gone without a word: seconds until the kernel says so.
SILENT_S = 10
NOT_HTTP2 = "what answers there may not speak gRPC: TRITON_URL names Triton's gRPC port, 8001 unless it was changed"


class Connection(asyncio.BufferedProtocol):
    """What a channel asks on.

    opened       done once the server has said that it speaks HTTP/2, or with CallFailed
    takes_calls  from then on, until it closes
    """

    def __init__(self, on_lost: Callable[["Connection"], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming()
        self._headers = Headers()
        self._half: tuple[Frame, bytearray] | None = None  # headers that go on in the next frame
        self._streams: dict[int, Stream] = {}
        self._outgoing = Outgoing()
        self._next = 1
        self._most_streams = frames.LARGEST_WINDOW
        self._unacknowledged = 0
        self.takes_calls = False

    def call(self, headers: bytes, message: Sequence[Buffer]) -> Stream:
        """Send one message, given in parts; its stream has the answer.

        Raises CallFailed where the server takes no more at once.
        """
        if self._transport is None or not self.takes_calls:
            raise CallFailed(Status.UNAVAILABLE, "the connection is closed")
        if len(self._streams) >= self._most_streams:
            raise CallFailed(
                Status.RESOURCE_EXHAUSTED, f"the server takes {self._most_streams} calls at once"
            )
        number, self._next = self._next, self._next + 2
        self.takes_calls = self._next <= frames.STREAM_ID  # numbers are used once
        stream = self._streams[number] = Stream(
            number, message, self._outgoing.first_window, self.reset
        )
        parts: list[Buffer] = [
            head(len(headers), frames.HEADERS, frames.END_HEADERS, number),
            headers,
        ]
        self._outgoing.fill(parts, stream)
        self._transport.write(b"".join(parts))
        if stream.unsent:
            stream.keep()
        return stream

    def reset(self, stream: Stream) -> None:
        if self._forgotten(stream) and self._transport is not None:
            code = frames.number(frames.CANCEL)
            self._transport.write(frame(frames.RST_STREAM, 0, stream.number, code))
        stream.fail(CallFailed(Status.CANCELLED, "the call was cancelled"))

    def close(self) -> None:
        """Drop it, and every call on it."""
        self.takes_calls = False
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _watched(transport.get_extra_info("socket"))
        ours = frames.settings(
            {
                frames.HEADER_TABLE_SIZE: 0,  # see Headers
                frames.ENABLE_PUSH: 0,
                frames.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
            }
        )
        step = frames.number(WINDOW_BYTES - frames.DEFAULT_WINDOW)
        transport.write(
            frames.PREFACE
            + frame(frames.SETTINGS, 0, 0, ours)
            + frame(frames.WINDOW_UPDATE, 0, 0, step)
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._incoming.room()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for given in self._incoming.frames(nbytes):
                self._take(given)
        except ProtocolError as error:
            words = f"{error}; {NOT_HTTP2}" if not self.opened.done() else str(error)
            self._end(CallFailed(Status.UNAVAILABLE, words))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        words = f"the connection broke: {exc or 'it was closed'}"
        if not self.opened.done():
            words = f"it closed the connection and said nothing; {NOT_HTTP2}"
        self._end(CallFailed(Status.UNAVAILABLE, words))
        self._on_lost(self)

    # What the server sends.

    def _take(self, given: Frame) -> None:
        if not self.opened.done():
            if given.kind != frames.SETTINGS or given.flags & frames.ACK:
                raise ProtocolError("no settings came first")
            self.opened.set_result(None)
            self.takes_calls = True
        if (self._half is not None) != (given.kind == frames.CONTINUATION):
            raise ProtocolError("headers that are not whole")
        match given.kind:
            case frames.DATA:
                self._take_data(given)
            case frames.HEADERS | frames.CONTINUATION:
                self._take_headers(given)
            case frames.SETTINGS if not given.flags & frames.ACK:
                self._take_settings(given.payload)
            case frames.PING if not given.flags & frames.ACK:
                self._send(frame(frames.PING, frames.ACK, 0, given.payload))
            case frames.WINDOW_UPDATE:
                self._widen(given)
            case frames.RST_STREAM:
                self._take_reset(given)
            case frames.GOAWAY:
                self._take_goaway(given.payload)
            # Others are to be ignored, also those that are not known (RFC 9113, section 4.1).

    def _take_data(self, given: Frame) -> None:
        self._unacknowledged += len(given.payload)
        if self._unacknowledged >= WINDOW_BYTES // 2:
            self._send(frame(frames.WINDOW_UPDATE, 0, 0, frames.number(self._unacknowledged)))
            self._unacknowledged = 0
        stream = self._streams.get(given.stream_id)
        if stream is None:
            return  # it was reset
        content = frames.unpadded(given)
        stream.size += len(content)
        if stream.size > LARGEST_ANSWER_BYTES:
            stream.fail(CallFailed(Status.RESOURCE_EXHAUSTED, "an answer that has no end"))
            self.reset(stream)
            return
        stream.received.append(content)
        if given.flags & frames.END_STREAM:
            self._forgotten(stream)
            stream.end(Said(200, None, ""))

    def _take_headers(self, given: Frame) -> None:
        if self._half is None:
            first, block = given, bytearray(frames.unpadded(given))
        else:
            first, block = self._half
            block += given.payload
        if first.stream_id != given.stream_id or len(block) > LARGEST_HEADERS_BYTES:
            raise ProtocolError("headers of another stream, or too long")
        if not given.flags & frames.END_HEADERS:
            self._half = first, block
            return
        self._half = None
        said = self._headers.read(bytes(block))
        stream = self._streams.get(first.stream_id)
        if stream is None:
            return
        if not first.flags & frames.END_STREAM:
            stream.begun = said
            return
        if said.status is None and stream.begun is not None:
            said = stream.begun
        self._settled(stream)
        stream.end(said)

    def _take_settings(self, payload: bytes) -> None:
        if len(payload) % frames.SETTING.size:
            raise ProtocolError("settings that are not whole")
        for name, value in frames.SETTING.iter_unpack(payload):
            match name:
                case frames.INITIAL_WINDOW_SIZE:
                    step = self._outgoing.set_first_window(value)
                    for stream in self._streams.values():
                        stream.window += step
                case frames.MAX_FRAME_SIZE:
                    self._outgoing.set_frames(value)
                case frames.MAX_CONCURRENT_STREAMS:
                    self._most_streams = value
        self._send(frame(frames.SETTINGS, frames.ACK, 0))
        self._go_on()

    def _widen(self, given: Frame) -> None:
        if len(given.payload) != 4:
            raise ProtocolError("the step of a window is not whole")
        step = int.from_bytes(given.payload, "big") & frames.LARGEST_WINDOW
        if given.stream_id == 0:
            self._outgoing.widen(step)
        elif (stream := self._streams.get(given.stream_id)) is not None:
            stream.window += step
        self._go_on()

    def _take_reset(self, given: Frame) -> None:
        stream = self._streams.get(given.stream_id)
        if stream is not None and self._forgotten(stream):
            code = int.from_bytes(given.payload, "big")
            status = OF_RESET.get(code, Status.INTERNAL)
            stream.fail(CallFailed(status, f"the server ended the call with HTTP/2 code {code}"))

    def _take_goaway(self, payload: bytes) -> None:
        """No new calls; those up to the last it names may still be answered."""
        self.takes_calls = False
        last = int.from_bytes(payload[:4], "big") & frames.STREAM_ID
        words = payload[8:].decode(errors="replace")
        for stream in [each for each in self._streams.values() if each.number > last]:
            self._forgotten(stream)
            stream.fail(CallFailed(Status.UNAVAILABLE, f"the server is going away: {words}"))
        self._close_if_done()

    # What is sent.

    def _send(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            raise ProtocolError("the server asks and asks, and does not read what it is told")
        self._transport.write(data)

    def _go_on(self) -> None:
        """Send what waited for room in a window."""
        if self._outgoing.waits and (more := self._outgoing.more()):
            self._send(more)

    def _settled(self, stream: Stream) -> None:
        """It was answered. What of its message was not sent yet is not wanted: tell the server that none will come."""
        self._forgotten(stream)
        if stream.unsent:
            code = frames.number(frames.CANCEL)
            self._send(frame(frames.RST_STREAM, 0, stream.number, code))

    def _forgotten(self, stream: Stream) -> bool:
        """Whether it had not ended before."""
        known = self._streams.pop(stream.number, None) is not None
        self._outgoing.forget(stream)
        self._close_if_done()
        return known

    def _close_if_done(self) -> None:
        if not self.takes_calls and not self._streams and self._transport is not None:
            self._transport.close()

    def _end(self, failure: CallFailed) -> None:
        self.takes_calls = False
        streams, self._streams, self._outgoing = tuple(self._streams.values()), {}, Outgoing()
        if not self.opened.done():
            self.opened.set_exception(failure)
            self.opened.exception()
        for stream in streams:
            stream.fail(failure)


def _watched(connected: socket.socket) -> None:
    """A host that is gone without a word is noticed, by the kernel."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_S),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", SILENT_S * 1000),
    ):
        if (option := getattr(socket, name, None)) is not None:  # Linux has them all
            connected.setsockopt(socket.IPPROTO_TCP, option, value)

"""A connection to a gRPC server: each call gets its own answer or a named failure, whatever the server does."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.inference import connection as module
from orchestrator.inference import frames
from orchestrator.inference.frames import Frame, frame
from orchestrator.inference.status import CallFailed, Status, head_of
from orchestrator.inference.stream import Stream
from tests.servers.http2_peer import Peer, ending, fields_of, headers

HEADERS = head_of("127.0.0.1:8001", "/inference.GRPCInferenceService/ModelInfer")


def failure(call: Stream) -> CallFailed:
    error = call.answer.exception()
    assert isinstance(error, CallFailed)
    return error


def content(heard: list[Frame]) -> bytes:
    return b"".join(each.payload for each in heard if each.kind == frames.DATA)


async def test_a_call_is_a_stream_with_the_fields_of_grpc_and_one_message() -> None:
    peer = Peer()
    peer.hears()
    peer.connection.call(HEADERS, (b"two ", b"parts"))
    first, second = peer.hears()
    assert (first.kind, first.flags, first.stream_id) == (frames.HEADERS, frames.END_HEADERS, 1)
    assert fields_of(first) == {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/inference.GRPCInferenceService/ModelInfer",
        b":authority": b"127.0.0.1:8001",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        b"user-agent": b"fess",
    }
    assert (second.kind, second.flags) == (frames.DATA, frames.END_STREAM)
    assert second.payload == b"\0\0\0\0\x09two parts"


async def test_long_names_of_hosts_are_written_as_the_standard_has_it() -> None:
    host = f"{'a' * 300}.example:8001"
    block = Frame(frames.HEADERS, 0, 1, head_of(host, "/" + "b" * 127))
    assert fields_of(block)[b":authority"] == host.encode()
    assert fields_of(block)[b":path"] == b"/" + b"b" * 127


async def test_answers_go_to_their_calls_in_whatever_order_they_come() -> None:
    peer = Peer()
    calls = [peer.connection.call(HEADERS, (b"?",)) for _ in range(3)]
    assert [call.number for call in calls] == [1, 3, 5]
    for call in reversed(calls):
        peer.answers(call.number, b"to %d" % call.number)
    assert [call.answer.result() for call in calls] == [b"to 1", b"to 3", b"to 5"]


@given(st.integers(0, 200_000))
@settings(max_examples=20, deadline=None)
async def test_an_answer_of_any_length_comes_whole(size: int) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.answers(call.number, bytes(size))
    assert call.answer.result() == bytes(size)


@given(
    sizes=st.lists(st.integers(0, 150_000), max_size=3),
    first=st.integers(0, 100_000),
    frame_bytes=st.integers(frames.FRAME_BYTES, 80_000),
    steps=st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 100_000)), max_size=30),
)
@settings(max_examples=60, deadline=None)
async def test_no_more_is_sent_than_both_windows_allow_and_no_less(
    sizes: list[int], first: int, frame_bytes: int, steps: list[tuple[int, int]]
) -> None:
    peer = Peer({frames.INITIAL_WINDOW_SIZE: first, frames.MAX_FRAME_SIZE: frame_bytes})
    parts = [bytearray(n % 251 for n in range(size)) for size in sizes]
    message, size = b"".join(parts), sum(sizes)
    peer.connection.call(HEADERS, [memoryview(part) for part in parts])
    for part in parts:  # they are the caller's again, who may write to them
        part[:] = bytes(len(part))
    heard, windows = peer.hears(), [frames.DEFAULT_WINDOW, first]
    for stream, step in [*steps, (0, 2**29), (1, 2**29)]:
        assert len(content(heard)) == min(size + 5, *windows)
        peer.widens(stream, step)
        windows[stream] += step
        heard += peer.hears()
    assert content(heard)[5:] == message
    sent = [each for each in heard if each.kind == frames.DATA]
    assert all(len(each.payload) <= frame_bytes for each in sent)
    assert [each.flags for each in sent] == [0] * (len(sent) - 1) + [frames.END_STREAM]


async def test_settings_that_come_later_widen_or_narrow_calls_that_are_on_their_way() -> None:
    peer = Peer({frames.INITIAL_WINDOW_SIZE: 100})
    peer.connection.call(HEADERS, (bytes(500),))
    heard = peer.hears()
    for size, sent in ((50, 100), (120, 120), (1000, 505)):
        peer.says(frame(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: size})))
        heard += peer.hears()
        assert len(content(heard)) == sent


async def test_a_call_without_room_keeps_no_other_back() -> None:
    peer = Peer({frames.INITIAL_WINDOW_SIZE: 10})
    slow = peer.connection.call(HEADERS, (bytes(100),))
    quick = peer.connection.call(HEADERS, (b"?",))
    peer.answers(quick.number, b"!")
    assert (quick.answer.result(), slow.answer.done()) == (b"!", False)


async def test_settings_and_pings_are_acknowledged() -> None:
    peer = Peer()
    peer.says(frame(frames.PING, 0, 0, b"8 octets"))
    heard = peer.hears()
    assert Frame(frames.SETTINGS, frames.ACK, 0, b"") in heard
    assert Frame(frames.PING, frames.ACK, 0, b"8 octets") in heard


async def test_a_refusal_is_told_in_the_servers_words() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(ending(call.number, Status.NOT_FOUND, "unknown model: 'caf%C3%A9' 100%25"))
    assert (failure(call).status, failure(call).details) == (
        Status.NOT_FOUND,
        "unknown model: 'café' 100%",
    )


async def test_a_status_that_nobody_knows_is_unknown() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(ending(call.number, 99, "?"))
    assert failure(call).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("code", "status"),
    [(502, Status.UNAVAILABLE), (404, Status.UNIMPLEMENTED), (418, Status.UNKNOWN)],
)
async def test_what_stands_before_a_server_answers_by_http_alone(code: int, status: Status) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(headers(call.number, {":status": str(code), "content-type": "text/html"}))
    peer.says(frame(frames.DATA, 0, call.number, b"<html>"))
    trailers = frames.END_HEADERS | frames.END_STREAM
    peer.says(headers(call.number, {"x-cause": "gateway"}, flags=trailers))
    assert (failure(call).status, failure(call).details) == (status, f"HTTP {code}")


async def test_headers_may_come_in_pieces_padded_and_with_a_priority() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    block = ending(call.number, Status.OUT_OF_RANGE, "in pieces")[frames.HEAD.size :]
    padded = b"\x03" + b"prior" + block[:4] + bytes(3)
    flags = frames.PADDED | frames.PRIORITY | frames.END_STREAM
    peer.says(frame(frames.HEADERS, flags, call.number, padded))
    peer.says(frame(frames.CONTINUATION, 0, call.number, block[4:9]))
    peer.says(frame(frames.CONTINUATION, frames.END_HEADERS, call.number, block[9:]))
    assert failure(call).details == "in pieces"


async def test_padding_is_no_part_of_an_answer() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(frame(frames.DATA, frames.PADDED, call.number, b"\x02\0\0\0\0\x01!xx"))
    peer.says(ending(call.number, 0))
    assert call.answer.result() == b"!"


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0\0\0", b"\x01\0\0\0\x01!", b"\0\0\0\0\x02!", b"\0\0\0\0\x01!\0\0\0\0\x01!"],
    ids=["nothing", "cut short", "compressed", "too short", "two messages"],
)
async def test_an_answer_that_is_not_one_plain_message_is_none(answer: bytes) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(frame(frames.DATA, 0, call.number, answer))
    peer.says(ending(call.number, 0))
    assert failure(call).status is Status.INTERNAL


async def test_an_answer_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER_BYTES", 100)
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.hears()
    for _ in range(3):
        peer.says(frame(frames.DATA, 0, call.number, bytes(60)))
    assert failure(call).status is Status.RESOURCE_EXHAUSTED
    assert [each.kind for each in peer.hears()] == [frames.RST_STREAM]


async def test_room_for_answers_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_BYTES", 80_000)
    peer = Peer()
    peer.hears()
    for _ in range(5):
        peer.answers(peer.connection.call(HEADERS, (b"?",)).number, bytes(10_000))
    widened = [each for each in peer.hears() if each.kind == frames.WINDOW_UPDATE]
    assert [int.from_bytes(each.payload, "big") for each in widened] == [40_020]


async def test_what_is_answered_before_it_was_sent_whole_is_not_sent_to_its_end() -> None:
    peer = Peer({frames.INITIAL_WINDOW_SIZE: 10})
    call = peer.connection.call(HEADERS, (bytes(100),))
    peer.hears()
    peer.says(ending(call.number, Status.RESOURCE_EXHAUSTED, "too large"))
    assert failure(call).details == "too large"
    peer.widens(0, 1000)
    assert [each.kind for each in peer.hears()] == [frames.RST_STREAM]


async def test_a_call_that_is_reset_is_cancelled_on_the_wire_once() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.hears()
    call.reset()
    call.reset()
    assert peer.hears() == [Frame(frames.RST_STREAM, 0, call.number, frames.number(frames.CANCEL))]
    assert failure(call).status is Status.CANCELLED
    peer.answers(call.number, b"too late")  # and nobody minds


async def test_one_that_nobody_waits_for_is_not() -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.hears()
    call.answer.cancel()
    peer.answers(call.number, b"for nobody")
    assert peer.hears() == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (frames.REFUSED_STREAM, Status.UNAVAILABLE),
        (frames.CANCEL, Status.CANCELLED),
        (0x2, Status.INTERNAL),
    ],
)
async def test_a_call_that_the_server_resets_has_failed(code: int, status: Status) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(frame(frames.RST_STREAM, 0, call.number, frames.number(code)))
    assert failure(call).status is status


async def test_a_server_that_goes_away_answers_what_it_has_taken_and_no_more() -> None:
    peer = Peer()
    taken = peer.connection.call(HEADERS, (b"?",))
    refused = peer.connection.call(HEADERS, (b"?",))
    last = frames.number(taken.number) + frames.number(frames.NO_ERROR) + b"max_age"
    peer.says(frame(frames.GOAWAY, 0, 0, last))
    assert "max_age" in failure(refused).details
    assert not peer.connection.takes_calls
    assert not peer.wire.closed
    peer.answers(taken.number, b"!")
    assert taken.answer.result() == b"!"
    assert peer.wire.closed


async def test_no_more_calls_are_made_at_once_than_the_server_takes() -> None:
    peer = Peer({frames.MAX_CONCURRENT_STREAMS: 1})
    first = peer.connection.call(HEADERS, (b"?",))
    with pytest.raises(CallFailed, match="takes 1 calls at once"):
        peer.connection.call(HEADERS, (b"?",))
    peer.answers(first.number, b"!")
    peer.connection.call(HEADERS, (b"?",))


async def test_numbers_of_streams_that_are_used_up_end_the_connection() -> None:
    peer = Peer()
    peer.connection._next = frames.STREAM_ID
    last = peer.connection.call(HEADERS, (b"?",))
    assert not peer.connection.takes_calls
    peer.answers(last.number, b"!")
    assert last.answer.result() == b"!"
    assert peer.wire.closed


async def test_a_connection_that_breaks_ends_every_call_on_it_and_tells_it_once() -> None:
    peer = Peer()
    calls = [peer.connection.call(HEADERS, (b"?",)) for _ in range(2)]
    peer.connection.connection_lost(ConnectionResetError("reset by peer"))
    assert {failure(call).status for call in calls} == {Status.UNAVAILABLE}
    assert "reset by peer" in failure(calls[0]).details
    assert peer.lost == 1
    with pytest.raises(CallFailed, match="closed"):
        peer.connection.call(HEADERS, (b"?",))


BROKEN: dict[str, Callable[[int], bytes]] = {
    "a frame that is too large": lambda n: frames.head(frames.FRAME_BYTES + 1, 0, 0, n),
    "headers that cannot be read": lambda n: frame(frames.HEADERS, 5, n, b"\xff\xff\xff"),
    "a status that is no number": lambda n: headers(n, {"grpc-status": "ok"}, flags=5),
    "headers of a table that we do not keep": lambda n: frame(frames.HEADERS, 5, n, b"\xbe"),
    "headers that do not go on": lambda n: (
        frame(frames.HEADERS, 0, n, b"") + frame(frames.PING, 0, 0, bytes(8))
    ),
    "headers that go on elsewhere": lambda n: (
        frame(frames.HEADERS, 0, n, b"") + frame(frames.CONTINUATION, 4, n + 2, b"")
    ),
    "headers without end": lambda n: (
        frame(frames.HEADERS, 0, n, b"") + frame(frames.CONTINUATION, 0, n, bytes(16_000)) * 5
    ),
    "more padding than there is": lambda n: frame(frames.DATA, frames.PADDED, n, b"\x09x"),
    "padding that is not there": lambda n: frame(frames.DATA, frames.PADDED, n, b""),
    "settings that are not whole": lambda _: frame(frames.SETTINGS, 0, 0, b"12345"),
    "a window that is too large": lambda _: frame(
        frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31})
    ),
    "frames that are too small": lambda _: frame(
        frames.SETTINGS, 0, 0, frames.settings({frames.MAX_FRAME_SIZE: 100})
    ),
    "half of a step": lambda _: frame(frames.WINDOW_UPDATE, 0, 0, b"12"),
}


@pytest.mark.parametrize("told", BROKEN.values(), ids=BROKEN.keys())
async def test_a_server_that_breaks_the_protocol_is_left(told: Callable[[int], bytes]) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    peer.says(told(call.number))
    assert failure(call).status is Status.UNAVAILABLE
    assert peer.wire.closed
    assert not peer.connection.takes_calls


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        frame(frames.PING, 0, 0, bytes(8)),
    ],
)
async def test_what_is_no_server_of_grpc_is_told_with_the_mend(told: bytes) -> None:
    peer = Peer(opened=False)
    peer.says(told)
    with pytest.raises(CallFailed, match="may not speak gRPC: TRITON_URL"):
        await peer.connection.opened
    assert peer.wire.closed


async def test_so_is_one_that_closes_without_a_word() -> None:
    peer = Peer(opened=False)
    peer.connection.connection_lost(None)
    with pytest.raises(CallFailed, match=r"said nothing; .* TRITON_URL"):
        await peer.connection.opened


@given(
    st.lists(
        st.binary(max_size=200)
        | st.builds(
            frame,
            st.integers(0, 10),
            st.integers(0, 255),
            st.integers(0, 7),
            st.binary(max_size=40),
        )
    )
)
@settings(max_examples=300, deadline=None)
async def test_whatever_comes_a_call_has_its_answer_or_failed_or_goes_on(said: list[bytes]) -> None:
    peer = Peer()
    call = peer.connection.call(HEADERS, (b"?",))
    for data in said:
        if not peer.wire.closed:
            peer.says(data)
    peer.connection.connection_lost(None)
    assert call.answer.done()
    assert isinstance(call.answer.exception(), CallFailed | None)

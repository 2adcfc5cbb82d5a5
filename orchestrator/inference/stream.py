"""One call on a connection: what of its message is still to be sent, and what of its answer has come."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.inference.status import CallFailed, Said, Status

Buffer = bytes | memoryview

# A message in gRPC: whether it is compressed, its length, itself.
PREFIX_BYTES = 5


class Stream:
    """One call.

    answer   the message that comes back, or CallFailed; of whoever waits for it now
    unsent   bytes of our message that are still to be sent
    ended    whether the answer has come, or the failure
    failure  None where an answer came, and until the end
    """

    __slots__ = (
        "_message",
        "_reset",
        "answer",
        "begun",
        "ended",
        "failure",
        "number",
        "received",
        "size",
        "unsent",
        "window",
    )

    def __init__(
        self, number: int, message: Sequence[Buffer], window: int, reset: Callable[["Stream"], None]
    ) -> None:
        """message: in parts, which are read until `keep` or the end of it."""
        size = sum(map(len, message))
        self._message = deque((b"\0" + size.to_bytes(PREFIX_BYTES - 1, "big"), *message))
        self._reset = reset
        self.number = number
        self.unsent = PREFIX_BYTES + size
        self.window = window
        self.begun: Said | None = None
        self.received: list[bytes] = []
        self.size = 0
        self.ended = False
        self.failure: CallFailed | None = None
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(self, size: int) -> list[Buffer]:
        """The next bytes of the message, as many as that; there are so many."""
        self.unsent -= size
        taken: list[Buffer] = []
        while size:
            part = self._message.popleft()
            if len(part) > size:
                part = memoryview(part)
                self._message.appendleft(part[size:])
                part = part[:size]
            taken.append(part)
            size -= len(part)
        return taken

    def keep(self) -> None:
        """Copy what was not taken: whose it was may do with it as they like."""
        self._message = deque((b"".join(self._message),))

    def wait_anew(self) -> None:
        """From now on somebody else waits for the answer."""
        self.answer = asyncio.get_running_loop().create_future()

    def send_away(self) -> None:
        """Whoever waits gets TimeoutError; the call goes on."""
        waiting = self.answer
        if not waiting.done():
            self.wait_anew()
            waiting.set_exception(TimeoutError())
            waiting.exception()  # who waited may have left in this very turn

    def reset(self) -> None:
        """Cancel the call on the wire, unless it has ended. Triton 2.51 now and then dies of that."""
        self._reset(self)

    def fail(self, failure: CallFailed) -> None:
        if self.ended:
            return
        self.ended, self.failure = True, failure
        if not self.answer.done():
            self.answer.set_exception(failure)
            self.answer.exception()  # a call that was given up is asked for by nobody

    def end(self, said: Said) -> None:
        failure = said.failure()
        try:
            message = _message(self.received) if failure is None else b""
        except CallFailed as error:
            failure = error
        if failure is not None:
            self.fail(failure)
            return
        self.ended = True
        if not self.answer.done():
            self.answer.set_result(message)


def _message(received: list[bytes]) -> bytes:
    """The one message of an answer. Raises CallFailed."""
    content = received[0] if len(received) == 1 else b"".join(received)
    compressed, length = content[:1], int.from_bytes(content[1:PREFIX_BYTES], "big")
    if compressed != b"\0" or len(content) != PREFIX_BYTES + length:
        raise CallFailed(Status.INTERNAL, "the answer is not one message, or is compressed")
    return content[PREFIX_BYTES:]

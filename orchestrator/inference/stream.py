"""One call on a connection: what of its message is still to be sent, and what of its answer has come."""

import asyncio
from collections.abc import Callable

from orchestrator.inference.status import CallFailed, Said, Status

# A message in gRPC: whether it is compressed, its length, itself.
PREFIX_BYTES = 5


class Stream:
    """One call. answer: the message that comes back, or CallFailed."""

    __slots__ = ("_reset", "answer", "begun", "number", "received", "size", "unsent", "window")

    def __init__(
        self, number: int, unsent: memoryview, window: int, reset: Callable[["Stream"], None]
    ) -> None:
        self._reset = reset
        self.number = number
        self.unsent = unsent
        self.window = window
        self.begun: Said | None = None
        self.received: list[bytes] = []
        self.size = 0
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def reset(self) -> None:
        """Cancel the call on the wire, unless it has ended. Triton 2.51 now and then dies of that."""
        self._reset(self)

    def fail(self, failure: CallFailed) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)
            self.answer.exception()  # a call that was given up is asked for by nobody

    def end(self, said: Said) -> None:
        failure = said.failure()
        if failure is None and not self.answer.done():
            try:
                self.answer.set_result(_message(self.received))
            except CallFailed as error:
                failure = error
        if failure is not None:
            self.fail(failure)


def _message(received: list[bytes]) -> bytes:
    """The one message of an answer. Raises CallFailed."""
    content = received[0] if len(received) == 1 else b"".join(received)
    compressed, length = content[:1], int.from_bytes(content[1:PREFIX_BYTES], "big")
    if compressed != b"\0" or len(content) != PREFIX_BYTES + length:
        raise CallFailed(Status.INTERNAL, "the answer is not one message, or is compressed")
    return content[PREFIX_BYTES:]

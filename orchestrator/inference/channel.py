"""Calls to one gRPC server: a connection while it lasts, a new one when it is needed, each failure under a name."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from orchestrator.inference.connection import Connection
from orchestrator.inference.status import CallFailed, Status, head_of
from orchestrator.inference.stream import Buffer, Stream

Message = Any  # protobuf's classes are generated at run time

SERVICE = "/inference.GRPCInferenceService/"
CONNECT_S = 5.0
# A restarted Triton must be found within a second.
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 1.0


class Channel:
    """Runs in one event loop; shared by all who ask this server."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is connected yet. url: host:port."""
        self._url = url
        self._clock = clock
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._all: set[Connection] = set()  # those too that only wait for their last answers
        self._heads: dict[str, bytes] = {}
        self._delay_s = 0.0
        self._not_before_s = float("-inf")
        self._why = CallFailed(Status.UNAVAILABLE, "not tried yet")

    async def close(self) -> None:
        """Ends every call that is left with CallFailed."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        for connection in tuple(self._all):
            connection.close()
        await asyncio.sleep(0)  # transports tell their connections in the next turn of the loop

    async def call(
        self, method: str, message: Sequence[Buffer], *, within_s: float | None
    ) -> Stream:
        """Send a serialised message, in parts; within_s bounds the wait for a connection. Raises CallFailed."""
        connection = self._connection
        if connection is None or not connection.takes_calls:
            connection = await self._connected(within_s)
        headers = self._heads.get(method)
        if headers is None:
            headers = self._heads[method] = head_of(self._url, f"{SERVICE}{method}")
        return connection.call(headers, message)

    async def ask(
        self,
        method: str,
        question: Message,
        answer: type[Message],
        *,
        timeout_s: float | None = None,
    ) -> Message:
        """One message for another. What is not answered in time stays on its way. Raises CallFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                stream = await self.call(
                    method, (question.SerializeToString(),), within_s=timeout_s
                )
                return read(answer, await stream.answer)
        except TimeoutError as error:
            raise CallFailed(
                Status.DEADLINE_EXCEEDED, f"no answer within {timeout_s:g} s"
            ) from error

    async def _connected(self, within_s: float | None) -> Connection:
        if self._connecting is None:
            if self._clock() < self._not_before_s:
                raise CallFailed(self._why.status, self._why.details)
            connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting = connecting
            connecting.add_done_callback(self._tried)
        connecting = self._connecting
        await asyncio.wait((connecting,), timeout=within_s)
        if not connecting.done():
            raise CallFailed(Status.DEADLINE_EXCEEDED, "no connection in time")
        if connecting.cancelled():
            raise CallFailed(Status.UNAVAILABLE, "the channel was closed")
        return connecting.result()

    async def _connect(self) -> Connection:
        host, _, port = self._url.rpartition(":")
        connection = Connection(self._lost)
        self._all.add(connection)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, host.strip("[]"), int(port)
                )
                await connection.opened
        except TimeoutError as error:
            raise CallFailed(Status.UNAVAILABLE, f"no connection within {CONNECT_S:g} s") from error
        except OSError as error:
            raise CallFailed(Status.UNAVAILABLE, f"no connection: {error}") from error
        finally:
            if not connection.takes_calls:
                connection.close()
                self._lost(connection)
        return connection

    def _tried(self, connecting: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if connecting.cancelled():
            return
        failure = connecting.exception()
        if failure is None:
            self._connection, self._delay_s = connecting.result(), 0.0
            return
        if isinstance(failure, CallFailed):
            self._why = failure
        self._delay_s = min(max(2 * self._delay_s, FIRST_DELAY_S), LONGEST_DELAY_S)
        self._not_before_s = self._clock() + self._delay_s

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if self._connection is connection:
            self._connection = None


def read(kind: type[Message], content: bytes) -> Message:
    """Raises CallFailed where the bytes are no such message."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise CallFailed(Status.INTERNAL, f"the answer is no {kind.__name__}: {error}") from error

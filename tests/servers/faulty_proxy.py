"""A TCP proxy that does to a connection what networks do: reset it, stall it, delay it, refuse it."""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536


class FaultyProxy:
    """Forwards 127.0.0.1:`port` to a target. Its faults can be switched while it runs.

    delay_s   added to each piece of data from the target
    stalled   keep connections open and forward nothing
    accepted  connections so far; most_open: at the same time
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.port = 0
        self.delay_s = 0.0
        self.accepted = 0
        self.most_open = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.resume()
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections (again)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Reset what is open and refuse what comes."""
        if self._server is not None:
            self._server.close()
            self.reset()
            await self._server.wait_closed()
            self._server = None
        await self._idle.wait()

    def stall(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def reset(self) -> None:
        """Send a TCP reset on every connection, whatever was on its way."""
        for writer in self._clients:
            if writer.transport.is_closing():
                continue
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._clients.add(writer)
        self._idle.clear()
        self.most_open = max(self.most_open, len(self._clients))
        upstream: asyncio.StreamWriter | None = None
        try:
            back, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, upstream, 0.0))
                tasks.create_task(self._pump(back, writer, None))
        except* OSError:
            pass  # one side is gone: so is the other
        finally:
            self._clients.discard(writer)
            for side in (writer, upstream):
                if side is not None:
                    side.close()
                    with contextlib.suppress(OSError):
                        await side.wait_closed()
            if not self._clients:
                self._idle.set()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_s: float | None
    ) -> None:
        while data := await source.read(CHUNK_BYTES):
            await self._flowing.wait()
            pause_s = self.delay_s if delay_s is None else delay_s
            if pause_s:
                await asyncio.sleep(pause_s)
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError  # ends the other direction too

"""One database of the real Redis for a test, emptied before it, and a proxy that delays what Redis says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr
from redis.asyncio import Redis

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.recognition.connection import connect
from orchestrator.recognition.enrolled import EnrolledFace, EnrolledPerson
from orchestrator.settings import RedisSettings
from tests.recognition.vectors import MODEL, axis

FACES_DB = 11  # of the shared server; the event bus has others


def address(server: EmbeddedRedis, **changes: object) -> RedisSettings:
    place = RedisSettings(
        host=server.host,
        port=server.port,
        db=FACES_DB,
        password=SecretStr(server.password),
        socket_timeout=2.0,
    )
    return place.model_copy(update=changes)


@asynccontextmanager
async def emptied(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    redis = connect(address(server))
    await redis.flushdb()
    try:
        yield redis
    finally:
        await redis.aclose()


def enrolled(name: str, number: int, *, authorized: bool = True) -> EnrolledPerson:
    face = EnrolledFace(axis(number), 0.5, datetime(2026, 1, 1, tzinfo=UTC))
    return EnrolledPerson(f"person-{name.lower()}", name, authorized, MODEL, (face,))


@asynccontextmanager
async def delaying_proxy(
    server: EmbeddedRedis, delay_s: float, port: int = 0
) -> AsyncIterator[int]:
    """A loopback port where every reply of Redis comes late; requests go through at once."""
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(server.host, server.port)
        except OSError:
            writer.close()
            return
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(10_000)

        async def forth() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.close()

        async def hold() -> None:
            while data := await far_reader.read(65536):
                await late.put((loop.time() + delay_s, data))
            await late.put((loop.time(), b""))

        async def back() -> None:
            while True:
                due_s, data = await late.get()
                await asyncio.sleep(max(due_s - loop.time(), 0.0))
                if not data:
                    return
                writer.write(data)

        try:
            async with asyncio.TaskGroup() as pipes:
                for pipe in (forth(), hold(), back()):
                    pipes.create_task(pipe)
        except* OSError:
            pass  # the client hung up: what this proxy is for
        finally:
            far_writer.close()
            writer.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield proxy.sockets[0].getsockname()[1]
    finally:
        proxy.close()

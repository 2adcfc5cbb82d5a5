"""The pooled connections to Redis: whoever is cancelled while a command is on its way is cancelled indeed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest
from pydantic import SecretStr

from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.recognition.connection import connect
from orchestrator.settings import RedisSettings

pytestmark = pytest.mark.xdist_group("redis")

# More turns of the event loop than a command takes, and so a cancellation at every point of one.
TURNS = 40


async def deaf(command: Callable[[], Awaitable[object]]) -> list[int]:
    """After how many turns of the loop a task that repeats the command does not hear that it is cancelled."""

    async def repeat() -> NoReturn:
        while True:
            await command()

    found: list[int] = []
    for turn in range(TURNS):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(repeat())
            for _ in range(turn):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=1.0)
            if not done:
                found.append(turn)
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.01)
    return found


async def test_the_gallery_and_the_face_cache_hear_that_they_are_to_stop(
    redis_server: EmbeddedRedis,
) -> None:
    password = SecretStr(redis_server.password)
    redis = connect(
        RedisSettings(host=redis_server.host, port=redis_server.port, password=password)
    )
    numbers = iter(range(1_000_000))

    async def echo() -> None:
        said = str(next(numbers)).encode()
        # The answer to a cancelled question must not be given to the next one.
        answer = await redis.execute_command("ECHO", said)  # type: ignore[no-untyped-call]  # redis-py
        assert answer == said

    assert await deaf(echo) == []
    await redis.aclose()


async def test_readers_and_writers_of_the_bus_hear_that_they_are_to_stop(
    redis_server: EmbeddedRedis,
) -> None:
    bus = RedisStreamsBus(
        RedisStreamsConfig(redis_server.host, redis_server.port, password=redis_server.password)
    )
    assert await deaf(bus.check) == []
    await bus.close()

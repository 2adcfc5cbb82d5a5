"""Looks on at Redis Streams: everything they hold, then what comes, with nothing left behind in Redis."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from eventbus.bus import Delivery

HEADER = "header:"


class Onlooker:
    """Belongs to no consumer group: others read the same events, and there is nothing to acknowledge."""

    def __init__(self, redis: Redis, topics: Sequence[str], *, count: int, block_ms: int) -> None:
        self._redis = redis
        self._count = count
        self._block_ms = block_ms
        self._seen: dict[Any, Any] = dict.fromkeys(topics, b"0")

    async def read(self) -> list[Delivery]:
        """Wait up to `block_ms` for entries. Raises RedisError, OSError."""
        answer: Any = await self._redis.xread(self._seen, count=self._count, block=self._block_ms)
        found: list[Delivery] = []
        for name, entries in rows(answer):
            topic = name.decode()
            for entry_id, fields in entries:
                self._seen[topic] = entry_id
                found.append(delivery_of(topic, entry_id, fields, _nothing))
        return found

    async def acknowledge(self) -> None:
        """Nothing waits for it."""


def rows(answer: Any) -> Any:
    """(stream, entries) of an answer, which versions of the client shape differently."""
    return answer.items() if isinstance(answer, dict) else answer or []


def delivery_of(
    topic: str, entry_id: bytes, fields: dict[bytes, bytes], ack: Callable[[], Awaitable[None]]
) -> Delivery:
    headers = {
        name.decode().removeprefix(HEADER): value.decode(errors="replace")
        for name, value in fields.items()
        if name.startswith(HEADER.encode())
    }
    return Delivery(
        topic,
        fields.get(b"camera_id", b"").decode(errors="replace"),
        entry_id.decode(),
        fields.get(b"payload", b""),
        ack,
        tuple(headers.items()),
    )


async def _nothing() -> None: ...

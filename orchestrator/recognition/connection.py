"""The pooled connection to Redis that the face cache and the gallery share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from eventbus.redis_connection import CancellableConnection
from orchestrator.errors import CacheError
from orchestrator.settings import RedisSettings


def connect(settings: RedisSettings) -> Redis:
    """A client over a bounded pool that waits instead of failing; nothing is sent until the first command.

    Close it with `await client.aclose()`. A connection whose command was cancelled is closed, never used again:
    its late reply would be taken for the answer to somebody else's question.
    """
    password = settings.password.get_secret_value() if settings.password else None
    pool = BlockingConnectionPool(
        connection_class=CancellableConnection,
        host=settings.host or "127.0.0.1",
        port=settings.port,
        db=settings.db,
        password=password,
        max_connections=settings.max_connections,
        timeout=settings.socket_timeout,
        socket_timeout=settings.socket_timeout,
        socket_connect_timeout=settings.socket_timeout,
        socket_keepalive=True,
        # One repeat hides a pooled connection that a restart of the server has closed. More only delays the news.
        retry=Retry(NoBackoff(), 1),
    )
    return Redis.from_pool(pool)


@contextmanager
def failing_as_cache_error(what: str) -> Iterator[None]:
    """No exception of redis-py leaves this package."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise CacheError(f"Redis could not {what}: {reason}; {_mend(error)}") from error


def _mend(error: Exception) -> str:
    if isinstance(error, AuthenticationError) or "NOAUTH" in str(error):
        return "check REDIS_PASSWORD"
    return "check REDIS_HOST, REDIS_PORT and that the server runs"


async def ping(redis: Redis) -> float:
    """Milliseconds to an answer. Raises CacheError."""
    began_s = time.monotonic()
    with failing_as_cache_error("answer"):
        await redis.ping()
    return (time.monotonic() - began_s) * 1000.0

"""The servers a process leans on: those the settings name, or real ones started beside it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Servers:
    """settings: those given, with every server named. watches: what keeps the embedded ones alive."""

    settings: Settings
    watches: tuple[Callable[[], Awaitable[None]], ...]

    async def watch(self) -> None:
        """Restart embedded servers that die or hang, until cancelled; returns at once if there are none."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self.watches:
                tasks.create_task(_forever(watch))


@asynccontextmanager
async def open_servers(
    settings: Settings, *, triton: bool = True, on_progress: Callable[[str], None]
) -> AsyncIterator[Servers]:
    """Start what the settings leave empty (REDIS_HOST, TRITON_URL). Raises ServerError.

    triton  False where only Redis is needed, as for listing faces.
    """
    async with AsyncExitStack() as stack:
        watches: list[Callable[[], Awaitable[None]]] = []
        if not settings.redis.host:
            redis = await stack.enter_async_context(
                EmbeddedRedis(
                    settings.state_dir, on_progress=on_progress, on_restart=_told("Redis")
                )
            )
            watches.append(redis.watch)
            settings = _with_redis(settings, redis)
        if triton and not settings.triton.url:
            server = await stack.enter_async_context(
                EmbeddedTriton(
                    settings.triton.model_repository,
                    settings.state_dir,
                    device=settings.detector.device,
                    on_progress=on_progress,
                    on_restart=_told("Triton"),
                )
            )
            watches.append(server.watch)
            changed = settings.triton.model_copy(update={"url": server.grpc_url})
            settings = settings.model_copy(update={"triton": changed})
        yield Servers(settings, tuple(watches))


def _with_redis(settings: Settings, server: EmbeddedRedis) -> Settings:
    place = {"host": server.host, "port": server.port, "password": SecretStr(server.password)}
    return settings.model_copy(update={"redis": settings.redis.model_copy(update=place)})


def _told(name: str) -> Callable[[str], None]:
    return lambda cause: log.error("the embedded %s %s; it was started again", name, cause)


async def _forever(watch: Callable[[], Awaitable[None]]) -> None:
    await watch()

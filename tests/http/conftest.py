"""A real server on a free loopback port, over a board that the test fills."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from yarl import URL

from orchestrator.board import Board
from orchestrator.health import Check, Health
from orchestrator.http import HttpServer
from orchestrator.metrics import Metrics
from orchestrator.settings import HttpSettings
from orchestrator.telemetry import export_ledgers


async def quick() -> float:
    return 0.002


class Site:
    """What a test holds: the board behind the server, and a client in front of it."""

    def __init__(self, server: HttpServer, board: Board, client: aiohttp.ClientSession) -> None:
        self.server = server
        self.board = board
        self.client = client

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def get(
        self, path: str, *, headers: dict[str, str] | None = None, allow_redirects: bool = True
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask for exactly this path: dots and escapes are sent as they stand."""
        url = URL(self.origin + path, encoded=True)
        return self.client.get(url, headers=headers, allow_redirects=allow_redirects)


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[OpenSite]:
    """Start a server, with a token and with other health checks if wanted."""
    async with AsyncExitStack() as stack:

        async def start(
            token: str | None = None,
            checks: dict[str, Check] | None = None,
            host: str = "127.0.0.1",
        ) -> Site:
            board, registry = Board(), CollectorRegistry()
            Metrics(registry)
            export_ledgers(registry, board)
            settings = HttpSettings(
                host=host, port=0, token=SecretStr(token) if token is not None else None
            )
            answers = {"triton": quick, "redis": quick} if checks is None else checks
            health = Health(board, answers, disk=tmp_path)
            server = await stack.enter_async_context(
                HttpServer(settings, board=board, health=health, registry=registry)
            )
            client = await stack.enter_async_context(
                aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
            )
            return Site(server, board, client)

        yield start


@pytest.fixture
async def site(open_site: OpenSite) -> Site:
    return await open_site()

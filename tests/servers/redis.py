"""A real Redis: one for the session, and private ones that a test may kill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.redis import DEFAULT_PATIENCE, EmbeddedRedis, find_binary
from orchestrator.errors import ServerError
from tests.servers.held import held
from tests.servers.require import lacking


class StartRedis(Protocol):
    def __call__(
        self,
        state_dir: Path | None = None,
        *,
        watch: bool = False,
        patience: Patience = ...,
        on_restart: Callable[[str], None] = ...,
    ) -> EmbeddedRedis: ...


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    try:
        return find_binary()
    except ServerError as error:
        lacking("redis", str(error))


@pytest.fixture(scope="session")
def redis_server(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    """Shared by the session's tests: each uses keys of its own. Has host, port and password."""
    with held(EmbeddedRedis(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def start_redis(redis_binary: Path, tmp_path: Path) -> Iterator[StartRedis]:
    """Starts private ones; with `watch`, a killed one comes back at the same address."""
    with ExitStack() as servers:

        def start(
            state_dir: Path | None = None,
            *,
            watch: bool = False,
            patience: Patience = DEFAULT_PATIENCE,
            on_restart: Callable[[str], None] = lambda _: None,
        ) -> EmbeddedRedis:
            server = EmbeddedRedis(
                state_dir or tmp_path / "state", patience=patience, on_restart=on_restart
            )
            return servers.enter_context(held(server, watch=watch))

        yield start

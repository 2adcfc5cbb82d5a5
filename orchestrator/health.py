"""How the process and everything it leans on is doing: the health document of the contract.

unhealthy  nothing is inspected: Triton does not answer or cannot be used, or no camera that should deliver frames does
degraded   inspection goes on, but a part is impaired: Redis, Kafka, the outbox, a model, some cameras, disk, memory
healthy    otherwise
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict

from eventbus.bus import BusError
from eventbus.events import Timestamp
from orchestrator.board import Board, CameraStatus
from orchestrator.camera import CameraState
from orchestrator.errors import FessError
from orchestrator.ledger import Coverage, Skip
from orchestrator.telemetry import scrub

Check = Callable[[], Awaitable[float]]
"""Asks one component for a sign of life; raises FessError, BusError or OSError.

Returns the seconds that the answer took, or 0 where nothing was asked over a network.
"""

Status = Literal["healthy", "degraded", "unhealthy"]

ALWAYS_LISTED = ("redis", "kafka", "triton")
DISK_FREE_GB_LEAST = 1.0
MEMORY_PERCENT_MOST = 95.0


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class ComponentHealth(_Document):
    """A part that is asked over the network. Not `enabled`: it is not used, and so never ill."""

    healthy: bool
    enabled: bool = True
    latency_ms: float | None = None
    error: str | None = None


class LedgerHealth(_Document):
    decoded: int
    inspected: int
    skipped: dict[Skip, int]
    pending: int

    @classmethod
    def of(cls, coverage: Coverage) -> "LedgerHealth":
        return cls(
            decoded=coverage.decoded,
            inspected=coverage.inspected,
            skipped=dict(coverage.skipped),
            pending=coverage.pending,
        )


class CameraHealth(_Document):
    state: CameraState
    detail: str
    fps: float
    ledger: LedgerHealth


class CamerasHealth(_Document):
    """`total` leaves out cameras whose file has ended."""

    healthy: bool
    online: int
    total: int
    cameras: dict[str, CameraHealth]


class SystemHealth(_Document):
    """The machine: memory as the kernel reports it, disk where the process keeps its state."""

    healthy: bool
    cpu_percent: float
    memory_percent: float
    memory_available_mb: float
    disk_percent: float
    disk_free_gb: float


class Components(_Document):
    """Extra parts, such as the outbox and the gallery, stand beside those of the contract."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, ComponentHealth]

    redis: ComponentHealth
    kafka: ComponentHealth
    triton: ComponentHealth
    cameras: CamerasHealth
    system: SystemHealth


class HealthDocument(_Document):
    status: Status
    timestamp: Timestamp
    components: Components

    @property
    def ready(self) -> bool:
        """Frames would be inspected if they came."""
        return self.components.triton.healthy


class Health:
    """Asks every component at once, and remembers the answer for a moment so that scrapes hammer nobody."""

    def __init__(
        self,
        board: Board,
        checks: Mapping[str, Check],
        *,
        disk: Path,
        timeout_s: float = 2.0,
        keep_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            board: where the cameras' states are read.
            checks: by component: `redis`, `triton`, `kafka` if it is the bus in use, and any others.
            disk: a folder on the disk whose room counts.
            timeout_s: a component that takes longer is unhealthy.
            keep_s: how long an answer is good for.
            clock: monotonic seconds.
            now: wall clock, UTC.
        """
        self._board = board
        self._checks = checks
        self._disk = disk
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._clock = clock
        self._now = now
        self._asking = asyncio.Lock()
        self._last: tuple[float, HealthDocument] | None = None
        psutil.cpu_percent()  # CPU is measured between two calls; this is the first

    async def report(self) -> HealthDocument:
        async with self._asking:
            if self._last is None or self._clock() - self._last[0] >= self._keep_s:
                document = await self._measure()
                self._last = (self._clock(), document)
            return self._last[1]

    async def _measure(self) -> HealthDocument:
        async with asyncio.TaskGroup() as tasks:
            asked = {
                name: tasks.create_task(self._ask(check)) for name, check in self._checks.items()
            }
        unused = ComponentHealth(healthy=True, enabled=False)
        answers = dict.fromkeys(ALWAYS_LISTED, unused)
        answers |= {name: task.result() for name, task in asked.items()}
        cameras, system = cameras_health(self._board.cameras()), system_health(self._disk)
        return HealthDocument(
            status=_verdict(answers, cameras, system),
            timestamp=self._now(),
            components=Components(**answers, cameras=cameras, system=system),
        )

    async def _ask(self, check: Check) -> ComponentHealth:
        try:
            async with asyncio.timeout(self._timeout_s):
                latency_s = await check()
        except (FessError, BusError, OSError) as error:  # TimeoutError is an OSError
            words = str(error) or f"no answer within {self._timeout_s:g} s"
            return ComponentHealth(healthy=False, error=scrub(words))
        return ComponentHealth(
            healthy=True, latency_ms=round(latency_s * 1000, 3) if latency_s else None
        )


def _verdict(
    answers: Mapping[str, ComponentHealth], cameras: CamerasHealth, system: SystemHealth
) -> Status:
    if not answers["triton"].healthy or (cameras.total and not cameras.online):
        return "unhealthy"
    parts = [*(answer.healthy for answer in answers.values()), cameras.healthy, system.healthy]
    return "healthy" if all(parts) else "degraded"


def cameras_health(statuses: tuple[CameraStatus, ...]) -> CamerasHealth:
    online = sum(status.state is CameraState.ONLINE for status in statuses)
    total = sum(status.state is not CameraState.ENDED for status in statuses)
    return CamerasHealth(
        healthy=online == total,
        online=online,
        total=total,
        cameras={
            status.camera_id: CameraHealth(
                state=status.state,
                detail=scrub(status.detail),
                fps=round(status.fps, 2),
                ledger=LedgerHealth.of(status.coverage),
            )
            for status in statuses
        },
    )


def system_health(disk: Path) -> SystemHealth:
    memory = psutil.virtual_memory()
    # The state folder may not be made yet; its nearest parent is on the same disk.
    existing = next(
        folder for folder in (disk.absolute(), *disk.absolute().parents) if folder.exists()
    )
    usage = psutil.disk_usage(str(existing))
    free_gb = usage.free / 1e9
    return SystemHealth(
        healthy=free_gb >= DISK_FREE_GB_LEAST and memory.percent <= MEMORY_PERCENT_MOST,
        cpu_percent=psutil.cpu_percent(),
        memory_percent=memory.percent,
        memory_available_mb=round(memory.available / 1e6, 1),
        disk_percent=usage.percent,
        disk_free_gb=round(free_gb, 2),
    )

"""The state of every camera as a table on the terminal: live in `fess run`, once in `fess status`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp
from pydantic import BaseModel, ValidationError
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventbus.events import AlertEvent, Event, FaceRecognitionEvent
from orchestrator.board import Board, CameraStatus
from orchestrator.camera import CameraState
from orchestrator.errors import FessError, SettingsError
from orchestrator.health import Health, HealthDocument
from orchestrator.ledger import Skip
from orchestrator.sentence import sentence, told_once
from orchestrator.telemetry import printable, scrub

EVENTS_SHOWN = 8
ANSWER_TIMEOUT_S = 10.0
ONE_TABLE_WIDTH = 130

STATE_STYLES = {
    CameraState.ONLINE: "green",
    CameraState.CONNECTING: "yellow",
    CameraState.OFFLINE: "bold red",
    CameraState.ENDED: "dim",
}
HEALTH_STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What a running process says of itself over HTTP."""

    cameras: tuple[CameraStatus, ...]
    events: tuple[Event, ...]
    health: HealthDocument


class _CamerasAnswer(BaseModel):
    cameras: tuple[CameraStatus, ...]


class _EventAnswer(BaseModel):
    event: Event


class _EventsAnswer(BaseModel):
    events: tuple[_EventAnswer, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[CameraStatus], Text | str]
    justify: Literal["left", "right"] = "right"


def table(
    statuses: Sequence[CameraStatus],
    events: Sequence[Event],
    health: HealthDocument | None = None,
) -> RenderableType:
    """Everything on one screen; events are given newest first."""
    parts: list[RenderableType] = []
    if health is not None:
        parts.append(_health_line(health))
    parts.append(_Cameras(statuses))
    if events:
        parts.append(_event_table(told_once(events)[:EVENTS_SHOWN]))
    return Group(*parts)


async def live_table(
    board: Board,
    console: Console,
    stop: asyncio.Event,
    health: Health | None = None,
    *,
    interval_s: float = 0.5,
) -> None:
    """Show the table below whatever else is printed, until told to stop: what was seen last stays on the terminal."""
    with Live(console=console, auto_refresh=False) as live:
        while not stop.is_set():
            report = await health.report() if health is not None else None
            shown = table(board.cameras(), board.events(motion=False), report)
            live.update(shown, refresh=True)
            await asyncio.sleep(interval_s)


async def fetch_status(url: str, token: str | None) -> RemoteStatus:
    """Ask a running process, whose address is that of its page.

    Raises SettingsError for a wrong token, FessError where nothing answers or something else does.
    """
    root = url.rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as client:
            return RemoteStatus(
                _CamerasAnswer.model_validate_json(
                    await _read(client, f"{root}/api/cameras")
                ).cameras,
                tuple(
                    answer.event
                    for answer in _EventsAnswer.model_validate_json(
                        await _read(client, f"{root}/api/events?motion=0")
                    ).events
                ),
                HealthDocument.model_validate_json(await _read(client, f"{root}/health")),
            )
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise FessError(
                f"{url} answers, but not as FESS does: is another program there?"
            ) from error
        reason = scrub(str(error)) or f"no answer within {ANSWER_TIMEOUT_S:g} s"
        raise FessError(f"nothing answers at {url} ({reason}): is `fess run` running?") from error


async def _read(client: aiohttp.ClientSession, url: str) -> bytes:
    async with client.get(url, allow_redirects=False) as response:
        if response.status == 401:
            raise SettingsError(
                f"{url} asks for a token; set HTTP_TOKEN to the one it was started with"
            )
        return await response.read()


@dataclass(frozen=True, slots=True)
class _Cameras:
    """One table where it fits, else two: how the cameras are, and what became of their frames."""

    statuses: Sequence[CameraStatus]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.statuses:
            yield Text("no camera yet", "dim")
        elif options.max_width >= ONE_TABLE_WIDTH:
            yield _grid(self.statuses, [*STATE_COLUMNS, *FRAME_COLUMNS, PEOPLE_COLUMN])
        else:
            yield _grid(self.statuses, [*STATE_COLUMNS, PEOPLE_COLUMN])
            yield _grid(self.statuses, FRAME_COLUMNS)


def _grid(statuses: Sequence[CameraStatus], columns: Sequence[_Column]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1), pad_edge=False)
    shown.add_column("Camera", no_wrap=True, style="bold", max_width=24)
    for column in columns:
        shown.add_column(column.title, justify=column.justify, no_wrap=column is not PEOPLE_COLUMN)
    for status in statuses:
        shown.add_row(status.camera_id, *(column.cell(status) for column in columns))
    return shown


def _state(status: CameraStatus) -> Text:
    return Text(status.state.value, STATE_STYLES[status.state])


def _rate(status: CameraStatus) -> str:
    return f"{status.fps:.1f}" if status.state is CameraState.ONLINE else "-"


def _latencies(status: CameraStatus) -> str:
    if status.latency_p50_s is None or status.latency_p95_s is None:
        return "-"
    return f"{status.latency_p50_s * 1000:.0f} / {status.latency_p95_s * 1000:.0f} ms"


def _skipped(cause: Skip) -> Callable[[CameraStatus], Text]:
    def cell(status: CameraStatus) -> Text:
        count = status.coverage.skipped.get(cause, 0)
        return Text(f"{count:,}", "" if count else "dim")

    return cell


def _people(status: CameraStatus) -> Text:
    """Who is there; or why nobody can be seen."""
    if status.state is not CameraState.ONLINE:
        return Text(printable(scrub(status.detail)), "dim")
    unnamed = status.persons - len(status.names)
    words = list(status.names)
    if unnamed > 0:
        words.append(f"{unnamed} {'other' if words else 'person'}{'s' if unnamed > 1 else ''}")
    return Text(printable(", ".join(words)) or "nobody", "" if words else "dim")


STATE_COLUMNS = (
    _Column("State", _state, "left"),
    _Column("fps", _rate),
    _Column("p50 / p95", _latencies),
)
FRAME_COLUMNS = (
    _Column("Decoded", lambda status: f"{status.coverage.decoded:,}"),
    _Column("Inspected", lambda status: f"{status.coverage.inspected:,}"),
    *(_Column(cause.value.replace("_", " "), _skipped(cause)) for cause in Skip),
)
PEOPLE_COLUMN = _Column("In front of it", _people, "left")


def _event_table(events: Sequence[Event]) -> Table:
    shown = Table(box=None, show_header=False, padding=(0, 1))
    for event in events:
        moment = event.timestamp.astimezone().strftime("%H:%M:%S")
        words = Text(printable(scrub(sentence(event))), _event_style(event))
        shown.add_row(Text(moment, "dim"), Text(printable(event.camera_id)), words)
    return shown


def _event_style(event: Event) -> str:
    match event:
        case AlertEvent():
            return "bold red" if event.alert_level == "CRITICAL" else "yellow"
        case FaceRecognitionEvent(is_authorized=True):
            return "green"
        case FaceRecognitionEvent():
            return "yellow"
        case _:
            return ""


def _health_line(health: HealthDocument) -> Text:
    components = health.components
    line = Text().append(health.status, HEALTH_STYLES[health.status])
    parts = {"triton": components.triton, "redis": components.redis, "kafka": components.kafka}
    for name, part in (parts | (components.model_extra or {})).items():
        if part.enabled:
            line.append(f"  {name} ", "dim")
            latency = f"{part.latency_ms:.1f} ms" if part.latency_ms is not None else "ok"
            line.append(latency if part.healthy else "down", "" if part.healthy else "bold red")
    system = components.system
    line.append(f"  cpu {system.cpu_percent:.0f} %  memory {system.memory_percent:.0f} %", "dim")
    return line.append(f"  disk {system.disk_free_gb:.0f} GB free", "dim")

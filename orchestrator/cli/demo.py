"""`fess demo`: sample clips as cameras, everything real, on this machine."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.table import Table

from orchestrator.app import Process, run
from orchestrator.board import CameraStatus
from orchestrator.buses import make_bus
from orchestrator.camera import Camera
from orchestrator.checking.models import embedder_source
from orchestrator.cli.enrolling import Wish, enrol_people
from orchestrator.cli.face_services import open_services
from orchestrator.cli.run import stop_on_signals
from orchestrator.cli.table import live_table
from orchestrator.demo import (
    CAST,
    RTSP_CAMERAS,
    SCENES,
    Testimony,
    cameras,
    to_be_enrolled,
    witness,
)
from orchestrator.embedded.claim import watching_alone
from orchestrator.embedded.rtsp import rtsp_available, serve_rtsp
from orchestrator.errors import ModelError
from orchestrator.http import HttpServer, require_address
from orchestrator.ledger import Skip
from orchestrator.models import ensure_clips, ensure_models
from orchestrator.servers import Servers, open_servers
from orchestrator.settings import Settings, load
from orchestrator.telemetry import configure_logging


def demo(
    seconds: Annotated[
        float, typer.Option(min=1, help="How long to watch before the summary.")
    ] = 60.0,
    port: Annotated[int | None, typer.Option(help="Port of the page.")] = None,
    table: Annotated[bool, typer.Option(help="On a terminal, show a live table.")] = True,
) -> None:
    """Enrol three people from sample clips, watch six cameras, and say at the end what happened.

    Fetches models and clips first (about 16 MB), starts a real Triton and a real Redis beside it, and
    serves the page. Its gallery and logs are kept apart from yours, in .fess/demo. Ctrl-C ends it early.
    """
    own = load(http_port=port)
    # Whatever servers are configured, the demo has its own: its people must not enter anybody's gallery.
    apart = load(
        http_port=port,
        state_dir=own.state_dir / "demo",
        events_bus="redis",
        events_outbox=own.state_dir / "demo" / "outbox",
        redis_host="",
        triton_url="",
    )
    console = Console(stderr=True)
    shows_table = table and console.is_terminal
    configure_logging(own.environment, "WARNING", console=console if shows_table else None)
    asyncio.run(_demo(own, apart, seconds, console, shows_table=shows_table))


async def _demo(
    own: Settings, apart: Settings, seconds: float, console: Console, *, shows_table: bool
) -> None:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(watching_alone(apart.state_dir))
        await require_address(apart.http)
        clips = await _ensure_all(own.model_copy(update={"triton": apart.triton}), console)
        servers = await stack.enter_async_context(
            open_servers(apart, on_progress=lambda words: console.print(f"  {words}"))
        )
        await _enrol_cast(servers.settings, clips)
        rtsp = None
        if await rtsp_available():
            mounts = {s.camera_id: clips[s.clip] for s in SCENES if s.camera_id in RTSP_CAMERAS}
            rtsp = await stack.enter_async_context(serve_rtsp(mounts))
        else:
            console.print("No RTSP server is installed here: every camera plays its file.")
        show = Show(servers, console, stop, seconds, shows_table=shows_table)
        await show.run(clips, rtsp)


async def _ensure_all(settings: Settings, console: Console) -> dict[str, Path]:
    """Models and clips; returns the clips. Raises ExceptionGroup of ModelError: all that is missing at once."""
    names = {role.clip for role in CAST} | {scene.clip for scene in SCENES}
    failures: list[ModelError] = []
    try:
        await ensure_models(settings, console)
    except ModelError as error:
        failures.append(error)
    try:
        clips = await ensure_clips(settings, sorted(names), console)
    except ModelError as error:
        failures.append(error)
    else:
        if not failures:
            return clips
    raise ExceptionGroup("not everything could be fetched", failures)


async def _enrol_cast(settings: Settings, clips: dict[str, Path]) -> None:
    """Enrol whoever an earlier demo has not enrolled already."""
    async with open_services(settings, triton=False) as services:
        people = await services.store.people()
    for role in to_be_enrolled(people, embedder_source(settings)):
        await enrol_people(
            settings, {role.name: [clips[role.clip]]}, Wish(role.authorized, yes=True)
        )


class Show:
    """The cameras at work, and a consumer that reads what they say."""

    def __init__(
        self,
        servers: Servers,
        console: Console,
        stop: asyncio.Event,
        seconds: float,
        *,
        shows_table: bool,
    ) -> None:
        self._servers = servers
        self._console = console
        self._stop = stop
        self._seconds = seconds
        self._shows_table = shows_table
        self._process = Process.of(servers.settings)
        self._testimony = Testimony()
        self._final: tuple[CameraStatus, ...] = ()

    async def run(self, clips: dict[str, Path], rtsp: str | None) -> None:
        bus = make_bus(self._servers.settings)
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(self._servers.watch()),
                tasks.create_task(witness(bus, self._testimony, since=datetime.now(UTC))),
            ]

            def listening(server: HttpServer) -> None:
                self._console.print(f"[bold]Watch: {server.url}[/bold]", highlight=False)
                beside.append(tasks.create_task(self._pace()))
                if self._shows_table:
                    table = live_table(self._process.board, self._console, self._stop)
                    beside.append(tasks.create_task(table))

            await run(
                self._process, _once(cameras(clips, rtsp)), stop=self._stop, on_listening=listening
            )
            await asyncio.sleep(1.0)  # let the witness read what was delivered last
            for task in beside:
                task.cancel()
        await bus.close()
        self._console.print(summary(self._final, self._testimony))

    async def _pace(self) -> None:
        """End after the wanted time; without a live table, say now and then how it goes."""
        left = self._seconds
        while left > 0 and not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(5.0, left)):
                    await self._stop.wait()
            left -= 5.0
            self._final = self._process.board.cameras()
            if not self._shows_table and not self._stop.is_set():
                online = sum(status.fps > 0 for status in self._final)
                self._console.print(
                    f"{max(left, 0):3.0f} s to go: {online} of {len(self._final)} cameras inspected, "
                    f"{self._testimony.events} events read from the bus"
                )
        self._stop.set()


async def _once(cameras: tuple[Camera, ...]) -> AsyncIterator[tuple[Camera, ...]]:
    yield cameras


def summary(statuses: Sequence[CameraStatus], testimony: Testimony) -> RenderableType:
    """What happened, a row a camera: from the ledger, and from what a consumer read on the bus."""
    table = Table(title="What happened", title_justify="left", box=SIMPLE)
    for heading in ("camera", "named"):
        table.add_column(heading, no_wrap=True)
    numbers = ("unknown", "frames", "looked", "fps", "p50 ms", "p95 ms", "events")
    for heading in numbers:
        table.add_column(heading, justify="right")
    for status in statuses:
        coverage, camera_id = status.coverage, status.camera_id
        table.add_row(
            camera_id,
            ", ".join(sorted(testimony.people.get(camera_id, ()))) or "-",
            str(len(testimony.strangers.get(camera_id, ()))),
            str(coverage.decoded),
            str(coverage.inspected),
            f"{status.fps:.1f}",
            _ms(status.latency_p50_s),
            _ms(status.latency_p95_s),
            str(testimony.motion.get(camera_id, 0)),
        )
    shown = [f"  {scene.camera_id} shows {scene.shows}." for scene in SCENES]
    return Group(*shown, table, *_totals(statuses, testimony))


def _totals(statuses: Sequence[CameraStatus], testimony: Testimony) -> list[str]:
    coverage = [status.coverage for status in statuses]
    causes = {cause: sum(each.skipped[cause] for each in coverage) for cause in Skip}
    balance = (
        f"Ledger: {sum(each.decoded for each in coverage)} decoded = "
        f"{sum(each.inspected for each in coverage)} inspected + "
        + " + ".join(f"{count} {cause}" for cause, count in causes.items())
        + f" + {sum(each.pending for each in coverage)} on their way"
    )
    alerts = Counter((alert.alert_level.value, alert.alert_message) for alert in testimony.alerts)
    told = [f"  {level}: {message} ({count}x)" for (level, message), count in alerts.items()]
    return [
        balance,
        f"Bus: {testimony.events} events read back, {testimony.repeats} repeats.",
        "Alerts:" if told else "Alerts: none.",
        *told,
    ]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"

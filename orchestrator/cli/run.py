"""`fess run`: watch the cameras until told to stop."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.app import Process
from orchestrator.app import run as run_process
from orchestrator.buses import make_bus
from orchestrator.camera_list import follow_cameras
from orchestrator.cli.table import live_table
from orchestrator.configuring.cameras_file import load_cameras
from orchestrator.delivery import deliver_leftovers, worker_outbox
from orchestrator.embedded.claim import watching_alone
from orchestrator.http import HttpServer, require_address
from orchestrator.models import ensure_models
from orchestrator.servers import Servers, open_servers
from orchestrator.settings import Settings, load
from orchestrator.telemetry import configure_logging, operator_console
from orchestrator.workers.gateway import Gateway
from orchestrator.workers.supervisor import WorkerSupervisor


def run(
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Processes that share the cameras, each restarted alone when it hangs or dies. "
            "0: one process, nothing beside it.",
        ),
    ] = 0,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; by default fess.yaml if there is one.")
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="The cameras; by default cameras.yaml.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the page, /health and /metrics.")
    ] = None,
    table: Annotated[
        bool, typer.Option(help="On a terminal, show a live table instead of log lines only.")
    ] = True,
) -> None:
    """Watch the cameras of cameras.yaml until SIGTERM or Ctrl-C; changes of that file are taken up at once.

    Triton and Redis are started beside it where TRITON_URL and REDIS_HOST are not set.
    """
    if os.environ.get("ENVIRONMENT") == "production":
        configure_logging("production", "INFO")  # in which mistakes of the settings are told, too
    settings = load(config, cameras_file=cameras, http_port=port)
    console = operator_console(settings.environment)
    shows_table = table and console.is_terminal and not workers
    configure_logging(
        settings.environment, settings.log_level, console=console if shows_table else None
    )
    asyncio.run(_run(settings, workers, console, shows_table=shows_table))


async def _run(settings: Settings, workers: int, console: Console, *, shows_table: bool) -> None:
    stop = stop_on_signals()
    load_cameras(settings.cameras_file)  # a mistake there is told before anything is fetched
    with watching_alone(settings.state_dir):
        await require_address(settings.http)
        await ensure_models(settings, console)
        async with open_servers(settings, on_progress=_tell(console)) as servers:
            if workers:
                await _supervise(servers, workers, stop)
            else:
                await _watch(servers, stop, console, shows_table=shows_table)


def _tell(console: Console) -> Callable[[str], None]:
    return lambda words: console.print(words, highlight=False, markup=False, soft_wrap=True)


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT; a second SIGINT kills, as people expect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            loop.remove_signal_handler(signal.SIGINT)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return stop


async def _watch(
    servers: Servers, stop: asyncio.Event, console: Console, *, shows_table: bool
) -> None:
    process = Process.of(servers.settings)
    async with asyncio.TaskGroup() as tasks:
        beside = [
            tasks.create_task(servers.watch()),
            tasks.create_task(
                deliver_leftovers(
                    servers.settings, process.metrics, {servers.settings.events.outbox}
                )
            ),
        ]

        def listening(server: HttpServer) -> None:
            _tell(console)(f"page: {server.url}")
            if shows_table:
                beside.append(tasks.create_task(live_table(process.board, console, stop)))

        await run_process(
            process,
            follow_cameras(servers.settings.cameras_file),
            stop=stop,
            on_listening=listening,
        )
        for task in beside:
            task.cancel()


async def _supervise(servers: Servers, workers: int, stop: asyncio.Event) -> None:
    process = Process.of(servers.settings)
    bus = make_bus(servers.settings)
    supervisor = WorkerSupervisor(servers.settings, workers, bus=bus, metrics=process.metrics)
    held = {worker_outbox(servers.settings, n).events.outbox for n in range(workers)}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(bus.close)
        gateway = Gateway(servers.settings.http, supervisor, process.registry)
        await stack.enter_async_context(gateway)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [
            tasks.create_task(servers.watch()),
            tasks.create_task(deliver_leftovers(servers.settings, process.metrics, held)),
            tasks.create_task(supervisor.run(follow_cameras(servers.settings.cameras_file))),
        ]
        await stop.wait()
        for task in running:
            task.cancel()

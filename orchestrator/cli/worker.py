"""`fess worker`: one of the processes that `fess run --workers N` starts; not for people."""

import asyncio
import signal

from orchestrator.app import Process, run
from orchestrator.http import HttpServer
from orchestrator.settings import HttpSettings
from orchestrator.telemetry import configure_logging
from orchestrator.workers.worker import assignments, beat, read_start, supervisor_lines


def worker() -> None:
    """Watch the cameras that the supervisor sends; ends with it."""
    asyncio.run(_work())


async def _work() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C reaches the whole group; the supervisor says when to stop.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    lines = await supervisor_lines()
    start = await read_start(lines)
    # The supervisor guards the page; the workers' own ports are loopback only, any free one.
    settings = start.rebuilt().model_copy(update={"http": HttpSettings(port=0)})
    configure_logging(settings.environment, settings.log_level)
    process = Process.of(settings)
    async with asyncio.TaskGroup() as tasks:

        def listening(server: HttpServer) -> None:
            beating.append(tasks.create_task(beat(server.port, process.board)))

        beating: list[asyncio.Task[None]] = []
        await run(
            process,
            assignments(lines),
            stop=stop,
            on_listening=listening,
            lost=start.lost,
        )
        for task in beating:
            task.cancel()

"""An embedded server held open by a thread with a loop of its own.

Session fixtures outlive the loops of the tests, so they cannot use them.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Never, Protocol, Self, TypeVar


class Server(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def watch(self) -> Never: ...


ServerT = TypeVar("ServerT", bound=Server)


@contextmanager
def held(server: ServerT, *, watch: bool = False) -> Iterator[ServerT]:
    """Start the server, and stop it at the end; with `watch`, it is restarted when it is lost."""
    started: Future[Callable[[], object]] = Future()

    async def hold() -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with server, asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(server.watch()) if watch else None
            started.set_result(lambda: loop.call_soon_threadsafe(leave.set))
            await leave.wait()
            if watcher is not None:
                watcher.cancel()

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # whatever it was, who waits for the start is told
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="held server")
    thread.start()
    try:
        stop = started.result()
    except BaseException:  # Ctrl-C too: no thread is left behind
        thread.join()
        raise
    try:
        yield server
    finally:
        stop()
        thread.join()

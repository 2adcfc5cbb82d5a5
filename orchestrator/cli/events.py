"""`fess events`: what is on the bus."""

import asyncio
import os
import sys
from contextlib import aclosing
from typing import Annotated

import typer

from eventbus.bus import EventBus
from eventbus.events import decode
from orchestrator.buses import make_bus
from orchestrator.cli.run import stop_on_signals
from orchestrator.sentence import sentence
from orchestrator.servers import open_servers
from orchestrator.settings import Settings, load


def events(
    json: Annotated[
        bool, typer.Option("--json", help="The events themselves, one a line.")
    ] = False,
    motion: Annotated[bool, typer.Option(help="Motion events too; there are many.")] = False,
) -> None:
    """Follow the event bus: everything it still holds, then what comes, until Ctrl-C."""
    try:
        asyncio.run(_follow(load(), as_json=json, motion=motion))
    except* BrokenPipeError:  # as `fess events | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(settings: Settings, *, as_json: bool, motion: bool) -> None:
    stop = stop_on_signals()
    async with open_servers(settings, triton=False, on_progress=_tell) as servers:
        bus = make_bus(servers.settings)
        topics = tuple(t for t in bus.topics.all if motion or t != bus.topics.motion)
        try:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(_print(bus, topics, as_json=as_json))
                await stop.wait()
                following.cancel()
        finally:
            await bus.close()


async def _print(bus: EventBus, topics: tuple[str, ...], *, as_json: bool) -> None:
    async with aclosing(bus.subscribe(topics, None)) as deliveries:
        async for delivery in deliveries:
            payload = delivery.payload
            typer.echo(payload.decode() if as_json else sentence(decode(payload)))


def _tell(message: str) -> None:
    typer.echo(message, err=True)

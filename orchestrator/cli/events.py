"""`fess events`: what is on the bus."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Annotated

import typer
from pydantic import ValidationError

from eventbus.bus import Delivery, EventBus
from eventbus.events import decode
from orchestrator.buses import make_bus
from orchestrator.cli.run import stop_on_signals
from orchestrator.errors import SettingsError
from orchestrator.sentence import sentence
from orchestrator.servers import open_servers
from orchestrator.settings import Settings, load
from orchestrator.telemetry import printable, scrub


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
    async with _open_bus(settings) as bus:
        topics = tuple(t for t in bus.topics.all if motion or t != bus.topics.motion)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_print(bus, topics, as_json=as_json))
            await stop.wait()
            following.cancel()


@asynccontextmanager
async def _open_bus(settings: Settings) -> AsyncIterator[EventBus]:
    """The bus of the settings; Redis is started beside it only where it is the bus. Raises SettingsError."""
    if settings.events.bus == "memory":
        raise SettingsError(
            "with EVENTS_BUS=memory no event leaves its process; set EVENTS_BUS=redis or kafka"
        )
    async with AsyncExitStack() as stack:
        if settings.events.bus == "redis":
            servers = open_servers(settings, triton=False, on_progress=_tell)
            settings = (await stack.enter_async_context(servers)).settings
        bus = make_bus(settings)
        stack.push_async_callback(bus.close)
        yield bus


async def _print(bus: EventBus, topics: tuple[str, ...], *, as_json: bool) -> None:
    async with aclosing(bus.subscribe(topics, None)) as deliveries:
        async for delivery in deliveries:
            typer.echo(delivery.payload if as_json else _line(delivery))


def _line(delivery: Delivery) -> str:
    """When, where and what. Whoever may write to the bus must not steer the terminal."""
    try:
        event = decode(delivery.payload)
    except ValidationError:
        return f"what is no event, {len(delivery.payload)} bytes, at {delivery.offset} of {delivery.topic}"
    moment = f"{event.timestamp.astimezone():%Y-%m-%d %H:%M:%S}"
    return printable(scrub(f"{moment}  {event.camera_id}  {sentence(event)}"))


def _tell(message: str) -> None:
    typer.echo(message, err=True)

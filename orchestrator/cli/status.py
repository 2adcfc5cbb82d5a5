"""`fess status`: what a running process sees."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.table import fetch_status, table
from orchestrator.settings import load


def status(
    url: Annotated[
        str | None, typer.Option(help="Address of its page; by default the one of the settings.")
    ] = None,
) -> None:
    """Show the cameras, their coverage ledger, the last events and the health of a running `fess run`.

    Exits with 1 if nothing answers, and with 2 if it is unhealthy.
    """
    http = load().http
    token = http.token.get_secret_value() if http.token else None
    found = asyncio.run(fetch_status(url or f"http://{http.host}:{http.port}", token))
    Console().print(table(found.cameras, found.events, found.health))
    if found.health.status == "unhealthy":
        raise typer.Exit(2)

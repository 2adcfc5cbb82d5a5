"""`fess status`: what a running process sees."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.table import fetch_status, table
from orchestrator.settings import HttpSettings, load


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
    found = asyncio.run(fetch_status(url or page_url(http), token))
    Console().print(table(found.cameras, found.events, found.health))
    if found.health.status == "unhealthy":
        raise typer.Exit(2)


def page_url(http: HttpSettings) -> str:
    """Where this machine reaches the page; who listens on all addresses is asked on loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)
    return f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"

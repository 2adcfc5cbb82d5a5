"""`fess check`: tries everything, and says what to mend."""

import asyncio
import json
import os
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import dotenv_values
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.checking import machine
from orchestrator.checking.cameras import cameras
from orchestrator.checking.finding import Finding, Verdict
from orchestrator.checking.models import model_files
from orchestrator.checking.servers import bus, redis, triton
from orchestrator.settings import Settings, load

STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


async def check(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Try every dependency and camera, all at once, each under a time limit. Starts embedded servers for it."""
    files = [] if settings.triton.url else model_files(settings)
    async with asyncio.TaskGroup() as tasks:

        def begin(work: Coroutine[Any, Any, list[Finding]]) -> asyncio.Task[list[Finding]]:
            return tasks.create_task(work)

        asked = [begin(redis(settings)), begin(bus(settings)), begin(cameras(settings))]
        # Without its files the embedded Triton could only repeat what was said of them.
        if all(each.verdict is not Verdict.FAILED for each in files):
            asked.insert(0, begin(triton(settings)))
        port = tasks.create_task(machine.port(settings.http))
    return [
        *machine.environment(environ),
        *machine.disk(settings),
        machine.memory(),
        machine.access(settings.http),
        port.result(),
        *files,
        *(finding for task in asked for finding in task.result()),
    ]


def command(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; by default fess.yaml if there is one.")
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="The cameras; by default cameras.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Try every dependency and camera, and say what to mend. Exits with 1 if something must be mended.

    It starts the embedded servers for it, as `fess run` would, and stops those that were not running.
    """
    settings = load(config, cameras_file=cameras)
    # `.env` is read like the environment: what it holds without one of our prefixes may be misspelt too.
    written = dotenv_values(".env", interpolate=False)
    findings = asyncio.run(
        check(settings, {name: value or "" for name, value in written.items()} | os.environ)
    )
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show(findings, Console())
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)


def show(findings: list[Finding], console: Console) -> None:
    table = Table("", "part", "found", "mend", box=None, pad_edge=False)
    for finding in findings:
        verdict = Text(finding.verdict, STYLES[finding.verdict])
        table.add_row(verdict, Text(finding.part), Text(finding.what), Text(finding.mend))
    console.print(table)
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    if counts[Verdict.FAILED]:
        console.print(f"{counts[Verdict.FAILED]} to mend before `fess run` can do its work.")
    else:
        console.print(f"`fess run` can do its work; {counts[Verdict.WARNING]} to look at.")

"""`fess replay`: a clip through the same path as a camera, on its own time."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.camera import Camera
from orchestrator.capture.duration import clip_duration_s
from orchestrator.capture.source import open_source
from orchestrator.cli.interruption import some, told_when_interrupted
from orchestrator.configuring.cameras_file import NAME_RULE
from orchestrator.errors import SettingsError
from orchestrator.ledger import Coverage
from orchestrator.models import ensure_models
from orchestrator.replay import EPOCH
from orchestrator.replay import replay as replay_clip
from orchestrator.servers import open_servers
from orchestrator.settings import Settings, load
from orchestrator.telemetry import configure_logging


def replay(
    clip: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A video file.")],
    output: Annotated[
        Path | None,
        typer.Option("--events", help="File for the events; by default they are printed."),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Also write an annotated MP4 with every inspected frame.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=120, help="Frames a second to inspect.")] = 5.0,
    camera_id: Annotated[
        str | None, typer.Option(help="Camera named in the events; by default the clip's name.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(help="When the clip begins, UTC; its events are dated from there."),
    ] = None,
) -> None:
    """Take a clip through detection, tracking and recognition, and write its events as JSON lines.

    The same clip, settings and gallery give the same bytes, however often and however fast.
    """
    settings = load()
    configure_logging(settings.environment, settings.log_level)
    camera = _camera(clip, camera_id or _camera_id(clip), fps)
    started_at = start.replace(tzinfo=EPOCH.tzinfo) if start else EPOCH
    console = Console(stderr=True)
    with told_when_interrupted(lambda: _unfinished(output, video)), _whole_file(output) as file:
        coverage = asyncio.run(_replay(settings, camera, file, video, started_at, console))
    console.print(
        f"{clip.name}: {coverage.decoded} frames decoded, {coverage.inspected} inspected, skipped "
        + ", ".join(f"{count} {cause}" for cause, count in coverage.skipped.items() if count)
    )


def _unfinished(output: Path | None, video: Path | None) -> str:
    unwritten = [str(path) for path in (output, video) if path is not None]
    printed = "" if output else "; the events that were printed are not all of them"
    return f"the clip was not taken to its end; not written: {some(unwritten)}{printed}"


@contextmanager
def _whole_file(path: Path | None) -> Iterator[BinaryIO]:
    """A file that appears under its name once it is whole; standard output where there is no path.

    Raises SettingsError where it takes no more. Whoever reads standard output may have read enough.
    """
    if path is None:
        with _standard_output() as file:
            yield file
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise SettingsError(f"--events {path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit from error
        raise SettingsError(f"the events cannot be printed: {error.strerror}") from error


async def _replay(
    settings: Settings,
    camera: Camera,
    file: BinaryIO,
    video: Path | None,
    started_at: datetime,
    console: Console,
) -> Coverage:
    # A mistake in the clip is told before anything is fetched or started.
    total_s = await asyncio.to_thread(_duration_s, camera, settings)
    await ensure_models(settings, console)
    async with open_servers(settings, on_progress=console.print) as servers:
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(camera.camera_id, total=total_s)
            return await replay_clip(
                servers.settings,
                camera,
                file.write,
                video=video,
                started_at=started_at,
                on_progress=lambda pts_s: progress.update(task, completed=pts_s),
            )


def _duration_s(camera: Camera, settings: Settings) -> float | None:
    """Seconds as the file claims. Raises CameraUnreachable if it holds no video."""
    with open_source(camera, settings.capture):
        return clip_duration_s(Path(camera.url.get_secret_value()))


def _camera(clip: Path, camera_id: str, fps: float) -> Camera:
    try:
        return Camera(camera_id=camera_id, url=SecretStr(str(clip)), fps=fps, pace="fast")
    except ValidationError as error:
        raise SettingsError(f"--camera-id: {NAME_RULE}") from error


def _camera_id(clip: Path) -> str:
    """The clip's name with what a camera's name may not hold left out."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in clip.stem)
    return kept.lstrip("_.-")[:64] or "clip"

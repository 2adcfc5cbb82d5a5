"""`fess models`: fetch public weights and sample clips, and make of the weights what Triton serves."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from export.install import ensure_clips, ensure_models, wanted
from export.manifest import Download, Model, load
from export.prepare import prepare, up_to_date
from orchestrator.errors import ModelError
from orchestrator.models import clip_places, model_places
from orchestrator.settings import load as load_settings

app = typer.Typer(
    name="models",
    no_args_is_help=True,
    help="Fetch public weights, check them, and make of them what Triton serves.",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Models of the manifest. Default: those in use, else the manifest's."),
]
Mirror = Annotated[
    Path | None,
    typer.Option(help="Folder with the files and a SHA256SUMS. Default: FESS_MODELS_MIRROR."),
]


@app.command("fetch")
def fetch_models(
    names: Names = None,
    clips: Annotated[bool, typer.Option("--clips", help="The sample clips as well.")] = False,
    mirror: Mirror = None,
) -> None:
    """Fetch what is missing, check every digest, and prepare it for Triton.

    What is there and undamaged is left alone. An interrupted transfer goes on where it broke off.
    """
    settings = load_settings(models_mirror=mirror)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    made = asyncio.run(ensure_models(model_places(settings), console, names=names or ()))
    for each in made:
        console.print(f"{each.path}  {'new' if each.changed else 'up to date'}")
    if clips:
        files = [clip.file for clip in load().clips]
        paths = asyncio.run(ensure_clips(files, clip_places(settings), console))
        console.print(f"{clip_places(settings).store}  {len(paths)} clips")


@app.command("prepare")
def prepare_models(names: Names = None) -> None:
    """Make what Triton serves from files that are fetched already. Uses no network."""
    places = model_places(load_settings())
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for model in wanted(load(), places.repository, None, names or ()):
        source = places.store / model.file
        done = up_to_date(model, places.repository)
        if done is None and not source.is_file():
            raise ModelError(f"{source}: is not there; run `fess models fetch {model.name}`")
        done = done or prepare(source, model, places.repository)
        console.print(f"{done.path}  {'new' if done.changed else 'up to date'}")


@app.command("list")
def list_models() -> None:
    """List every model of the manifest: licence, size, digest, and whether it is here."""
    settings = load_settings()
    places = model_places(settings)
    table = Table("model", "folder", "licence", "size", "SHA-256", "fetched", "prepared")
    for model in load().models:
        prepared = model.sha256 is not None and up_to_date(model, places.repository) is not None
        table.add_row(
            f"{model.name}{' (default)' if model.default else ''}",
            model.slot,
            model.licence,
            _size(model),
            model.sha256[:12] + "…" if model.sha256 else "not verified",
            _yes((places.store / model.file).is_file()),
            _yes(prepared),
        )
    Console().print(table)


def _size(item: Download | Model) -> str:
    return f"{item.size / 1e6:.1f} MB" if item.size else "unknown"


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"

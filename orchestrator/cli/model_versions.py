"""`fess models add` and `rollback`: which version of a model is named, and what the running Triton makes of it."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export import gate, versions, vouched
from export.adding import add
from export.manifest import Slot
from export.prepare import Prepared
from export.rtmdet import labels_from
from orchestrator.cli.model_swap import have_served
from orchestrator.errors import ModelError
from orchestrator.settings import Settings
from orchestrator.settings import load as load_settings

Labels = Annotated[
    str | None, typer.Option(help="Names of the classes: a,b,c or a file with one a line.")
]


def add_model(
    file: Annotated[Path, typer.Argument(help="An ONNX file with a signature of docs/models.md.")],
    labels: Labels = None,
) -> None:
    """Serve an ONNX file of your own as a new version, once it has passed the gate."""
    settings = load_settings()
    faces = settings.faces
    folders: dict[Slot, str] = {
        "object_detector": settings.detector.model,
        "face_detector": faces.detector_model,
        "face_embedder": faces.embedder_model,
    }
    before = named_now(settings)
    names = None if labels is None else labels_from(labels)
    made = add(
        file,
        settings.triton.model_repository,
        folders,
        labels=names,
        match_threshold=faces.match_threshold,
    )
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    tell(settings, made, before[made.path.parents[1]], console)


def roll_back_model(
    folder: Annotated[
        str, typer.Argument(help="Folder of the model repository.")
    ] = "object_detector",
    to: Annotated[
        int | None, typer.Option(help="The version. Default: the one that served before.")
    ] = None,
) -> None:
    """Serve an older version of a model again; a Triton that runs takes it up under load, and loses no request."""
    settings = load_settings()
    slot = settings.triton.model_repository / folder
    before, now = versions.older(slot, to)
    try:
        version = slot / str(now)
        gate.admit(version / vouched.MODEL, sha256=vouched.digest(version))
    except ModelError as error:
        raise ModelError(f"{error}; or go to another version with --to") from error
    versions.roll_back(slot, now)
    told = have_served(settings, slot, now, before)
    Console(stderr=True).print(f"{slot}: version {now} instead of {before}. {told}", soft_wrap=True)


def named_now(settings: Settings) -> defaultdict[Path, int | None]:
    """The version that each folder of the repository names."""
    folders = settings.triton.model_repository.glob("*")
    return defaultdict(lambda: None, {folder: versions.served(folder) for folder in folders})


def tell(settings: Settings, made: Prepared, before: int | None, console: Console) -> None:
    """Say what was made, and have the running Triton serve it if it is another version. Raises ModelRefused."""
    folder, version = made.path.parents[1], int(made.path.parent.name)
    if not made.changed:
        console.print(f"{made.path}  up to date")
        return
    console.print(f"{made.path}  new")
    console.print(f"  {have_served(settings, folder, version, before)}")

"""`fess models`: fetch public weights and sample clips, and make of the weights what Triton serves."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from export import environment
from export.checkpoint import obtain
from export.environment import Environment
from export.exporting import DEFAULT_CLIPS, Export
from export.fetch import verified
from export.install import Places, as_served, ensure_clips, ensure_models, wanted
from export.manifest import Download, Manifest, Model, Pixels, load
from export.prepare import Prepared, prepare, up_to_date
from export.rtmdet import checked_size, labels_from, named
from export.wish import Wish, checked, used
from orchestrator.cli.interruption import some, told_when_interrupted
from orchestrator.cli.model_swap import show_served
from orchestrator.cli.model_versions import Labels, add_model, named_now, roll_back_model, tell
from orchestrator.errors import ModelError
from orchestrator.models import clip_places, model_places
from orchestrator.settings import Settings
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
Network = Annotated[str, typer.Argument(help="rtmdet-nano, -tiny, -s, -m, -l or -x.")]
OwnCheckpoint = Annotated[
    Path | None, typer.Option(help="Your own training. Default: the public one, by its digest.")
]
Side = Annotated[int | None, typer.Option(help="Side of the input: 320, 640, 1280, …")]
Format = Annotated[str, typer.Option("--format", help="onnx; tensorrt, or plan, for GPUs.")]
Precision = Annotated[
    str, typer.Option(help="fp32; int8, calibrated on your clips; fp16, for GPUs.")
]
Accelerator = Annotated[str | None, typer.Option(help="openvino, for processors.")]
Frames = Annotated[
    list[Path] | None,
    typer.Option(help="Clips, photographs or folders to compare on. Default: sample clips."),
]
PIXEL_KIND = typer.Option(
    help="What the object detector takes: rgb, planar (YUV in its size), decoded (YUV of any size, for a GPU)."
)
LabelledSet = Annotated[
    Path | None, typer.Option(help="Annotations in COCO's format, to measure AP on.")
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the labelled pictures. Default: the annotations'.")
]
Calibration = Annotated[
    list[Path] | None,
    typer.Option(help="Clips that int8 takes its ranges from. Default: those of --frames."),
]
Loss = Annotated[
    float | None,
    typer.Option(
        "--ap-loss",
        min=0,
        help="Points of AP that may be lost. Default: 0.5; 1 of int8, fp16 and planes.",
    ),
]
Folder = Annotated[
    Path, typer.Option("--environment", help="Where PyTorch and MMDeploy are, or will be.")
]
OnlyEnvironment = Annotated[
    bool, typer.Option("--only-environment", help="Make the environment and stop.")
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
    before = named_now(settings)
    with told_when_interrupted(lambda: _how_far(settings, names or (), clips)):
        made = asyncio.run(ensure_models(model_places(settings), console, names=names or ()))
        for each in made:
            tell(settings, each, before[each.path.parents[1]], console)
        if clips:
            files = [clip.file for clip in load().clips]
            paths = asyncio.run(ensure_clips(files, clip_places(settings), console))
            console.print(f"{clip_places(settings).store}  {len(paths)} clips")


@app.command("prepare")
def prepare_models(
    names: Names = None, pixels: Annotated[Pixels | None, PIXEL_KIND] = None
) -> None:
    """Make what Triton serves from files that are fetched already. Uses no network."""
    settings = load_settings()
    places = model_places(settings)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    before = named_now(settings)
    with told_when_interrupted(lambda: _how_far(settings, names or (), clips=False)):
        models = wanted(load(), places, None, names or ())
        if pixels is not None and all(model.slot != "object_detector" for model in models):
            raise ModelError(
                f"--pixels {pixels}: no object detector of the manifest is served here; `fess models export` takes "
                "--pixels for one of your own, or name a model of the manifest"
            )
        for chosen in models:
            model = chosen
            if pixels is not None and chosen.slot == "object_detector":
                model = chosen.model_copy(update={"pixels": pixels})
            done = _prepared(model, places)
            tell(settings, done, before[done.path.parents[1]], console)


def _prepared(model: Model, places: Places) -> Prepared:
    source = places.store / model.file
    done = up_to_date(model, places.repository)
    if done is None and not source.is_file():
        raise ModelError(f"{source}: is not there; run `fess models fetch {model.name}`")
    return done or prepare(source, model, places.repository)


def _how_far(settings: Settings, names: Sequence[str], clips: bool) -> str:
    """What is whole of what was asked for; the rest goes on where it broke off."""
    places, kept = model_places(settings), clip_places(settings).store
    models = wanted(load(), places, None, names)
    there = {model.name: up_to_date(model, places.repository) is not None for model in models}
    there |= {clip.file: verified(kept / clip.file, clip) for clip in load().clips if clips}
    done = [name for name, whole in there.items() if whole]
    left = [name for name, whole in there.items() if not whole]
    return (
        f"done: {some(done)}; not done: {some(left)}; the same command goes on where it broke off"
    )


@app.command("list")
def list_models() -> None:
    """List every model of the manifest, what lies in the repository, and what the running Triton serves of it."""
    settings = load_settings()
    places = model_places(settings)
    # A name is there to be typed: where there is little room, the other columns give way.
    name = Column("model", no_wrap=True)
    table = Table(name, "folder", "licence", "size", "SHA-256", "fetched", "prepared")
    for model in load().models:
        there = as_served(model, places.repository)
        prepared = model.sha256 is not None and up_to_date(there, places.repository) is not None
        table.add_row(
            model.name + _role(model, load()),
            model.slot,
            model.licence,
            _size(model),
            model.sha256[:12] + "…" if model.sha256 else "not verified",
            _yes((places.store / model.file).is_file()),
            _yes(prepared),
        )
    Console().print(table)
    show_served(settings, Console())


@app.command("export")
def export_model(
    model: Network = "rtmdet-tiny",
    checkpoint: OwnCheckpoint = None,
    size: Side = None,
    labels: Labels = None,
    form: Format = "onnx",
    precision: Precision = "fp32",
    accelerator: Accelerator = None,
    pixels: Annotated[Pixels, PIXEL_KIND] = "rgb",
    frames: Frames = None,
    labelled: LabelledSet = None,
    images: Images = None,
    calibration: Calibration = None,
    ap_loss: Loss = None,
    environment_folder: Folder = Path(".tools/export"),
    only_environment: OnlyEnvironment = False,
) -> None:
    """Make a served model of an RTMDet checkpoint, proven equal to MMDetection.

    The first time this builds an environment, 6 GB in a quarter of an hour; what broke off goes on where it stopped.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    place = Environment(environment_folder.resolve())
    if only_environment:
        environment.set_up(place, console)
        return
    bits, runs_on = checked(form, precision, accelerator, pixels)
    network = named(model)
    side = checked_size(network.size if size is None else size)
    names = None if labels is None else labels_from(labels)
    wish = Wish(network, side, names, labelled=labelled, images=images, most_loss=ap_loss)
    wish = replace(wish, precision=bits, pixels=pixels, accelerator=runs_on, plan=form == "plan")
    wish = used(wish, _resolved(calibration or ()))
    settings = load_settings()
    # What may be refused in a second comes before what takes minutes.
    given = asyncio.run(obtain(network, checkpoint, model_places(settings), console))
    pictures = frames or asyncio.run(_sample_clips(settings, console))
    wish = replace(wish, pictures=_resolved(pictures))
    export = Export(wish, given, place, settings.state_dir / "exports", console)
    _carry_out(export, place, settings, console)


def _carry_out(export: Export, place: Environment, settings: Settings, console: Console) -> None:
    export.collect()
    environment.set_up(place, console)
    before = named_now(settings)
    result = export.run(settings.triton.model_repository)
    landed = Prepared(result.folder / "model.onnx", "", result.changed)
    tell(settings, landed, before[result.folder.parent], console)


def _resolved(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in paths)


async def _sample_clips(settings: Settings, console: Console) -> list[Path]:
    try:
        return list((await ensure_clips(DEFAULT_CLIPS, clip_places(settings), console)).values())
    except ModelError as error:
        raise ModelError(
            f"{error}; or name clips or photographs of yours with FRAMES=path"
        ) from error


def _role(model: Model, manifest: Manifest) -> str:
    if model.stands_in_for is not None:
        return "\n(default without a mirror)"
    if model.default and manifest.stand_in(model) is not None:
        return "\n(default with a mirror)"
    return "\n(default)" * model.default


def _size(item: Download | Model) -> str:
    return f"{item.size / 1e6:.1f} MB" if item.size else "unknown"


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


app.command("add")(add_model)
app.command("rollback")(roll_back_model)

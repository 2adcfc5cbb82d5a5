"""From the manifest to a model repository that Triton can serve, and clips that can be played."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from export.fetch import checksums, fetch, verified
from export.manifest import Clip, Manifest, Model, load
from export.prepare import Prepared, prepare, provenance, served, up_to_date
from orchestrator.errors import ModelError

log = logging.getLogger(__name__)

MODELS_MEND = (
    "set FESS_MODELS_MIRROR to a folder that holds the file and a SHA256SUMS, "
    "then run `fess models fetch`"
)
CLIPS_MEND = (
    "set FESS_VIDEOS_MIRROR to a folder that holds the clip and a SHA256SUMS, "
    "then run `fess models fetch --clips`"
)


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of an installation.

    repository  what Triton serves
    store       fetched files, as published
    mirror      files with a SHA256SUMS, used instead of public addresses; None: the public addresses
    """

    repository: Path
    store: Path
    mirror: Path | None


async def ensure_models(
    places: Places,
    console: Console,
    *,
    folders: Collection[str] | None = None,
    names: Collection[str] = (),
) -> tuple[Prepared, ...]:
    """Fetch, check and prepare what is not there yet.

    Args:
        places: where everything lies.
        console: shows licences and progress; silent when all is up to date.
        folders: of the model repository that are wanted; None: every one that has a default model.
        names: models of the manifest, wanted instead of what the folders hold or should hold.

    Raises:
        ModelError: for the first file that cannot be had or is refused.
    """
    models = await asyncio.to_thread(wanted, load(), places, folders, names)
    missing: list[Model] = []
    present: dict[str, Prepared] = {}
    for model in models:
        done = await asyncio.to_thread(up_to_date, model, places.repository)
        if done is None:
            missing.append(model)
        else:
            present[model.name] = done
    sources = await fetch(
        missing, places.store, mirror=places.mirror, mend=MODELS_MEND, console=console
    )
    for model, source in zip(missing, sources, strict=True):
        made = await asyncio.to_thread(prepare, source, model, places.repository)
        present[model.name] = made
        console.print(f"{made.path}  made from {model.file}", soft_wrap=True, highlight=False)
    return tuple(present[model.name] for model in models)


def wanted(
    manifest: Manifest, places: Places, folders: Collection[str] | None, names: Collection[str]
) -> tuple[Model, ...]:
    """Models of the manifest to be served: those named, else what each folder holds, else its default.

    A folder with weights that are not of this manifest is its operator's, and left alone.
    Raises ModelError for an unknown name, and for two models of one folder.
    """
    if names:
        models = tuple(as_served(manifest.model(name), places.repository) for name in names)
        slots = [model.slot for model in models]
        if len(set(slots)) != len(slots):
            raise ModelError(f"{', '.join(names)}: two of them would fill the same folder")
        return models
    return tuple(
        _resident(manifest, default, places)
        for default in manifest.defaults()
        if (folders is None or default.slot in folders)
        and not _foreign(manifest, default, places.repository)
    )


async def ensure_clips(files: Sequence[str], places: Places, console: Console) -> dict[str, Path]:
    """Fetch sample clips unless they are there; the path of each by its file name. Raises ModelError."""
    known = {clip.file: clip for clip in load().clips}
    unknown = [name for name in files if name not in known]
    if unknown:
        raise ModelError(f"{', '.join(unknown)}: not among the sample clips {', '.join(known)}")
    clips: list[Clip] = [known[name] for name in files]
    paths = await fetch(clips, places.store, mirror=places.mirror, mend=CLIPS_MEND, console=console)
    return dict(zip(files, paths, strict=True))


def _resident(manifest: Manifest, default: Model, places: Places) -> Model:
    note = provenance(served(default, places.repository))
    held = next((m for m in manifest.models if note and m.name == note.model), None)
    ours = held is not None and held.slot == default.slot
    chosen = held if held and ours else _to_be_had(manifest, default, places)
    return as_served(chosen, places.repository)


def _to_be_had(manifest: Manifest, default: Model, places: Places) -> Model:
    """The default, or what stands in for it where that one's file is at hand and the default's is not."""
    stand_in = manifest.stand_in(default)
    if stand_in is None:
        return default
    for model in (default, stand_in):
        if verified(places.store / model.file, model):
            return model
    if places.mirror is None:
        return stand_in
    # A mirror without a list is told by whoever fetches from it.
    listed = checksums(places.mirror) if (places.mirror / "SHA256SUMS").is_file() else {}
    return stand_in if stand_in.file in listed and default.file not in listed else default


def as_served(model: Model, repository: Path) -> Model:
    """The model taking the pixels that were chosen for it; what the manifest says is for the first time."""
    note = provenance(served(model, repository))
    kept = note is not None and note.model == model.name
    return model.model_copy(update={"pixels": note.pixels}) if note and kept else model


def _foreign(manifest: Manifest, model: Model, repository: Path) -> bool:
    file = served(model, repository)
    note = provenance(file)
    foreign = file.exists() and (
        note is None or note.model not in {known.name for known in manifest.models}
    )
    if foreign:
        log.info("%s is not of the manifest and left as it is", file)
    return foreign

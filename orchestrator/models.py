"""Makes sure that what Triton shall serve, and what the demo shows, is there."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export.fetch import fetch
from export.manifest import load
from export.prepare import prepare, up_to_date
from orchestrator.settings import Settings

MODELS_MEND = (
    "connect to the network, or set FESS_MODELS_MIRROR to a folder that holds the files and their "
    "SHA256SUMS"
)
CLIPS_MEND = MODELS_MEND.replace("MODELS", "VIDEOS")


async def ensure_models(settings: Settings, console: Console) -> None:
    """Fetch and prepare the models the embedded Triton serves, unless they are up to date.

    A Triton elsewhere (TRITON_URL) has its own. Raises ModelError.
    """
    if settings.triton.url:
        return
    repository = settings.triton.model_repository
    missing = [model for model in load().defaults() if up_to_date(model, repository) is None]
    if not missing:
        return
    sources = await fetch(
        missing,
        settings.state_dir / "models",
        mirror=settings.models_mirror,
        mend=MODELS_MEND,
        console=console,
    )
    for model, source in zip(missing, sources, strict=True):
        prepared = prepare(source, model, repository)
        console.print(f"{model.slot}: prepared from {model.name} ({prepared.sha256[:12]})")


async def ensure_clips(
    settings: Settings, names: Sequence[str], console: Console
) -> dict[str, Path]:
    """Fetch sample clips by file name. Raises ModelError."""
    clips = [clip for clip in load().clips if clip.file in names]
    paths = await fetch(
        clips,
        settings.state_dir / "clips",
        mirror=settings.videos_mirror,
        mend=CLIPS_MEND,
        console=console,
    )
    return {clip.file: path for clip, path in zip(clips, paths, strict=True)}

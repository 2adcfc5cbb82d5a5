"""Makes sure that what Triton shall serve, and what the demo shows, is there."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import install
from export.install import Places
from orchestrator.settings import Settings


def model_places(settings: Settings) -> Places:
    return Places(
        settings.triton.model_repository, settings.state_dir / "models", settings.models_mirror
    )


def clip_places(settings: Settings) -> Places:
    return Places(
        settings.triton.model_repository, settings.state_dir / "clips", settings.videos_mirror
    )


async def ensure_models(settings: Settings, console: Console) -> None:
    """Fetch and prepare the models the embedded Triton serves, unless they are up to date.

    A folder that holds another model of the manifest, or an operator's own weights, keeps them.
    A Triton elsewhere (TRITON_URL) has its own. Raises ModelError.
    """
    if not settings.triton.url:
        await install.ensure_models(model_places(settings), console)


async def ensure_clips(
    settings: Settings, names: Sequence[str], console: Console
) -> dict[str, Path]:
    """Fetch sample clips by file name. Raises ModelError."""
    return await install.ensure_clips(names, clip_places(settings), console)

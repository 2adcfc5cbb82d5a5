"""Makes sure that what Triton shall serve, and what the demo shows, is there, and that it is what is served."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import install, versions
from export.install import Places
from orchestrator.errors import InferenceInvalid
from orchestrator.inference.model_control import ModelControl
from orchestrator.inference.models import Models
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


async def check_served(settings: Settings, models: Models) -> float:
    """Raises InferenceInvalid where what is served, or was to be, is not as the repository and the settings want."""
    await models.check()
    for live in models.live:
        version = live.served.version
        named = versions.served(settings.triton.model_repository / version.name)
        if named is None or str(named) == version.version:
            continue
        async with ModelControl(settings.triton.url) as control:
            states = await control.states(version.name)
        for state in states:
            if state.refusal and state.version == str(named):
                raise InferenceInvalid(
                    f"{version.name}: Triton refused version {named}: {state.refusal}; version {version.version} "
                    f"goes on; `fess models rollback {version.name}`"
                )
    return 0.0


async def ensure_clips(
    settings: Settings, names: Sequence[str], console: Console
) -> dict[str, Path]:
    """Fetch sample clips by file name. Raises ModelError."""
    return await install.ensure_clips(names, clip_places(settings), console)

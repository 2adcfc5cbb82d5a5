"""Makes sure that what Triton shall serve, and what the demo shows, is there, and that it is what is served."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rich.console import Console

from export import install, versions, vouched
from export.install import Places
from orchestrator.embedded.triton import unread_by_running
from orchestrator.errors import InferenceInvalid, ModelError
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
        folder = settings.triton.model_repository / version.name
        named = versions.served(folder)
        if named is None:
            continue  # the files are elsewhere
        why = versions.unreadable(folder) or unread_by_running(settings.state_dir, version.name)
        if why is not None:
            raise InferenceInvalid(
                f"{version.name}: Triton goes on with version {version.version} and takes up no other: {why}"
            )
        if str(named) == version.version:
            if not (folder / version.version / vouched.MODEL).exists():
                continue  # a plan, which was built where it is served
            await asyncio.to_thread(_require_vouched, folder / version.version)
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


def _require_vouched(version: Path) -> None:
    """Our own backend has refused what nobody vouches for; Triton's loads whatever is there."""
    try:
        stamps = [(version / name).stat() for name in (vouched.MODEL, vouched.NOTE)]
        seen = tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stamps)
    except OSError:
        seen = ()
    if (why := _unvouched(version, seen)) is not None:
        raise InferenceInvalid(f"version {version.name} is served, but {why}")


@lru_cache(maxsize=16)
def _unvouched(version: Path, seen: tuple[tuple[int, int, int], ...]) -> str | None:
    """The digest is asked for at every look of /health, and found out once for each file."""
    try:
        vouched.require(version)
    except ModelError as error:
        return str(error)
    return None


async def ensure_clips(
    settings: Settings, names: Sequence[str], console: Console
) -> dict[str, Path]:
    """Fetch sample clips by file name. Raises ModelError."""
    return await install.ensure_clips(names, clip_places(settings), console)

"""What a running Triton makes of a version that the repository names from now on, in words for an operator."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export import versions
from orchestrator.embedded.triton import running_url, unread_by_running
from orchestrator.errors import InferenceUnavailable, ModelRefused
from orchestrator.inference.model_control import ModelControl
from orchestrator.settings import Settings

NOBODY = "No Triton runs on this repository; the next one to start serves it."
SERVED = "The running Triton serves it."
NOT_TAKEN = (
    "The running Triton has not taken it up: if it reads its models only when it starts, restart it, or start it with "
    "--model-control-mode=poll; if it polls, its log says why, or TRITON_MODEL_REPOSITORY is not the folder it serves."
)


@dataclass(frozen=True, slots=True)
class _Live:
    """served: version and digest, for people. refused: what Triton could not load, if it is named."""

    served: str
    refused: str


def triton_url(settings: Settings) -> str | None:
    """Of the Triton that serves now: the one of the settings, or the embedded one of a running `fess run`."""
    named = settings.triton.url
    return named or running_url(settings.triton.model_repository, settings.state_dir)


def have_served(settings: Settings, folder: Path, version: int, before: int | None) -> str:
    """Have the running Triton serve a version that the configuration names already; returns what to tell.

    Raises:
        ModelRefused: it cannot be loaded; the one before is named again, and was served all the time.
    """
    url = triton_url(settings)
    try:
        if (why := versions.unreadable(folder)) is not None:
            raise ModelRefused(why)
        if url is None:
            return NOBODY
        taken = asyncio.run(_taken(url, folder.name, version))
        if not taken and (why := unread_by_running(settings.state_dir, folder.name)) is not None:
            raise ModelRefused(why)
        return SERVED if taken else NOT_TAKEN
    except InferenceUnavailable as error:
        return f"{error}. When it is up, it serves this version."
    except ModelRefused as refusal:
        if before is None or before == version:
            raise
        versions.roll_back(folder, to=before)
        raise ModelRefused(
            f"{folder}: Triton refused version {version}: {refusal}; version {before} goes on and is named again"
        ) from refusal


async def _taken(url: str, model: str, version: int) -> bool:
    async with ModelControl(url) as control:
        return await control.take(model, version)


def show_served(settings: Settings, console: Console) -> None:
    """What lies in each folder of the repository, beside what the running Triton serves of it."""
    folders = sorted(
        path.parent for path in settings.triton.model_repository.glob("*/config.pbtxt")
    )
    url = triton_url(settings)
    live = asyncio.run(_live(url, [folder.name for folder in folders])) if url else {}
    table = Table(
        *("folder", "versions", "before", "named", "served now"),
        title=f"Triton at {url}" if url else None,
    )
    for folder in folders:
        now = live.get(folder.name)
        table.add_row(
            folder.name,
            " ".join(map(str, versions.present(folder))) or "none",
            str(versions.served_before(folder) or "none"),
            str(versions.served(folder) or "none"),
            "no Triton runs" if now is None else now.served,
        )
    console.print(table)
    for folder in folders:
        if (now := live.get(folder.name)) and now.refused:
            console.print(f"{folder.name}: {now.refused}", soft_wrap=True, markup=False)


async def _live(url: str, models: list[str]) -> dict[str, _Live]:
    found = {}
    async with ModelControl(url) as control:
        for model in models:
            try:
                states = await control.states(model)
                ready = [state.version for state in states if state.is_ready]
                digests = [await control.source_of(model, version) for version in ready]
            except InferenceUnavailable:
                found[model] = _Live("does not answer", "")
                continue
            served = [f"{n} ({digest:.12})" for n, digest in zip(ready, digests, strict=True)]
            refused = [
                f"version {s.version} was refused when it was tried: {s.refusal}"
                for s in states
                if s.refusal
            ]
            found[model] = _Live(", ".join(served) or "none", "; ".join(refused))
    return found

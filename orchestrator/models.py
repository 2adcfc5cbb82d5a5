"""Makes sure that what Triton shall serve is there."""

from pathlib import Path

from rich.console import Console

from orchestrator.settings import Settings

MODELS_FOLDER = "models"


async def ensure_models(settings: Settings, console: Console) -> None:
    """Fetch and prepare the models the embedded Triton serves, unless they are up to date.

    A Triton elsewhere (TRITON_URL) has its own. Raises ModelError.
    """

"""The same model in batches of at most two, which any two clients form alike where more requests wait."""

import shutil
from dataclasses import replace
from pathlib import Path

from export import versions
from orchestrator.tuning.config_text import ConfigText

PAIR = 2


def write_paired(repository: Path, like: Path) -> Path:
    """Make it in `repository` after the model in the folder `like`, under the same name."""
    config = shutil.copytree(like, repository / like.name) / versions.CONFIG
    config.write_text(paired(config), encoding="utf-8")
    return repository


def paired(path: Path) -> str:
    config = ConfigText.read(path.read_text(encoding="utf-8"), str(path))
    return config.tuned(replace(config.candidate, max_batch=PAIR))

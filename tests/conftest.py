"""Real servers for the contract tests, and the footage they look at."""

import os
from pathlib import Path

import pytest

from tests.servers.require import lacking

pytest_plugins = [
    "tests.servers.triton",
    "tests.servers.redis",
    "tests.servers.kafka",
    "tests.servers.rtsp",
    "tests.servers.host_clock",
]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def models_mirror() -> Path:
    """Folder with the public model files and their SHA256SUMS."""
    return _folder("FESS_MODELS_MIRROR", "models")


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder with the sample clips (face_again.mkv, car-detection.mp4, ...)."""
    return _folder("FESS_VIDEOS_MIRROR", "videos")


def _folder(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not (path / "SHA256SUMS").is_file():
        lacking(name, f"set {variable} to a folder with a SHA256SUMS; {path} has none")
    return path

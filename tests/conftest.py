"""Real servers for the contract tests, and the footage they look at."""

import os
import shutil
from pathlib import Path

import pytest

from export.manifest import load
from export.transfer import digest_of
from tests.servers.require import lacking

pytest_plugins = [
    "tests.servers.triton",
    "tests.servers.redis",
    "tests.servers.kafka",
    "tests.servers.rtsp",
    "tests.servers.host_clock",
]

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as `fess` does


@pytest.fixture(scope="session")
def models_mirror() -> Path:
    """Folder with the public model files and their SHA256SUMS."""
    return _folder("FESS_MODELS_MIRROR", "models")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sample clips (face_again.mkv, car-detection.mp4, ...) and their SHA256SUMS."""
    mirror = _mirror("FESS_VIDEOS_MIRROR", "videos")
    fetched = [ROOT / ".fess" / "clips" / clip.file for clip in load().clips]
    if (mirror / "SHA256SUMS").is_file() or not all(clip.is_file() for clip in fetched):
        return _folder("FESS_VIDEOS_MIRROR", "videos")
    folder = tmp_path_factory.mktemp("clips")
    sums = [f"{digest_of(clip)}  {Path(shutil.copy(clip, folder)).name}\n" for clip in fetched]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


def _folder(variable: str, name: str) -> Path:
    path = _mirror(variable, name)
    if not (path / "SHA256SUMS").is_file():
        lacking(name, f"set {variable} to a folder with a SHA256SUMS; {path} has none")
    return path


def _mirror(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable) or ROOT.parent / "shared" / name)

"""The face models, loaded once a worker."""

from pathlib import Path

import pytest

from tests.recognition.networks import LocalFaceDetector, LocalFaceEmbedder


@pytest.fixture(scope="session")
def detector(served_models: Path) -> LocalFaceDetector:
    return LocalFaceDetector(served_models)


@pytest.fixture(scope="session")
def embedder(served_models: Path) -> LocalFaceEmbedder:
    return LocalFaceEmbedder(served_models)

"""What the tests of whole processes share: a private Triton, a bus, a folder."""

from pathlib import Path

import pytest

from orchestrator.settings import Settings, TritonSettings
from tests.faults.site import Bus
from tests.servers.reading_model import write_reading_model
from tests.servers.redis import StartRedis
from tests.servers.triton import StartTriton


@pytest.fixture
def bus(start_redis: StartRedis, tmp_path: Path) -> Bus:
    return Bus(start_redis, tmp_path / "redis")


@pytest.fixture
def settings(start_triton: StartTriton, tmp_path: Path, bus: Bus) -> Settings:
    server = start_triton(write_reading_model(tmp_path / "repository"))
    return Settings(triton=TritonSettings(url=server.grpc_url), redis=bus.settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `fess run` works."""
    path = tmp_path / "site"
    path.mkdir()
    return path

"""The whole system over real servers: Triton with the real models, Redis, and people enrolled from clips."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.camera import Camera
from orchestrator.cli.enrolling import Wish, enrol_people
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.ledger import Coverage
from orchestrator.replay import replay
from orchestrator.settings import RedisSettings, Settings, TritonSettings
from tests.servers.held import held

# Person D (face_eat, face_night) is never enrolled.
ENROLLED = {"Ada": "face_again.mkv", "Ben": "face_bird.mkv", "Cleo": "face_book.mkv"}
UNAUTHORISED = "Cleo"


@pytest.fixture(scope="session")
def gallery_redis(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    """A Redis that holds a gallery, apart from that of the contract tests."""
    with held(EmbeddedRedis(tmp_path_factory.mktemp("gallery"))) as server:
        yield server


@pytest.fixture(scope="session")
def unpeopled(
    triton: EmbeddedTriton,
    gallery_redis: EmbeddedRedis,
    tmp_path_factory: pytest.TempPathFactory,
    served_models: Path,
) -> Settings:
    """Settings that name the session's servers."""
    return Settings(
        state_dir=tmp_path_factory.mktemp("state"),
        triton=TritonSettings(url=triton.grpc_url, model_repository=served_models),
        redis=RedisSettings(
            host=gallery_redis.host,
            port=gallery_redis.port,
            password=SecretStr(gallery_redis.password),
        ),
    )


@pytest.fixture(scope="session")
def settings(unpeopled: Settings, clips: Path) -> Settings:
    """The same, with Ada, Ben and Cleo enrolled, each from one clip."""
    for name, clip in ENROLLED.items():
        wish = Wish(authorized=name != UNAUTHORISED, yes=True)
        assert asyncio.run(enrol_people(unpeopled, {name: [clips / clip]}, wish))
    return unpeopled


def replayed(settings: Settings, clip: Path, fps: float = 5.0) -> tuple[list[bytes], Coverage]:
    """A clip's events, one JSON line each, and what became of its frames."""
    lines: list[bytes] = []
    camera = Camera(camera_id="door", url=SecretStr(str(clip)), fps=fps, pace="fast")
    coverage = asyncio.run(replay(settings, camera, lines.append))
    return lines, coverage

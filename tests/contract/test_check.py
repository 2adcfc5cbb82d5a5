"""`fess check` beside a real Triton and a real Redis."""

import pytest
from pydantic import SecretStr

from orchestrator.checking import servers
from orchestrator.checking.finding import Finding, Verdict
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.settings import DetectorSettings, RedisSettings, Settings, TritonSettings

pytestmark = pytest.mark.xdist_group("triton")


def named(server: EmbeddedRedis, password: str) -> Settings:
    return Settings(
        redis=RedisSettings(host=server.host, port=server.port, password=SecretStr(password), db=9)
    )


async def test_a_redis_that_answers_is_fine_and_nobody_enrolled_is_told(
    redis_server: EmbeddedRedis,
) -> None:
    answer, gallery = await servers.redis(named(redis_server, redis_server.password))
    assert (answer.verdict, gallery.verdict) == (Verdict.OK, Verdict.WARNING)
    assert "fess faces enrol" in gallery.mend


async def test_a_wrong_password_is_told_and_not_shown(redis_server: EmbeddedRedis) -> None:
    (finding,) = await servers.redis(named(redis_server, "hunter2-is-secret"))
    assert (finding.verdict, finding.mend) == (Verdict.FAILED, "check REDIS_PASSWORD")
    assert "hunter2" not in repr(finding)


async def test_a_triton_that_serves_the_models_is_fine(triton: EmbeddedTriton) -> None:
    (finding,) = await asked(triton)
    assert finding.verdict is Verdict.OK
    assert "1 class" in finding.what


async def test_a_class_that_triton_does_not_serve_is_told(triton: EmbeddedTriton) -> None:
    (finding,) = await asked(triton, "unicorn")
    assert finding.verdict is Verdict.FAILED
    assert "unicorn" in finding.what


async def asked(server: EmbeddedTriton, *classes: str) -> list[Finding]:
    return await servers.triton(
        Settings(
            triton=TritonSettings(url=server.grpc_url, timeout=5.0),
            detector=DetectorSettings(classes=classes),
        )
    )

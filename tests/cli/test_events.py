"""`fess events`: what is on the bus, for as long as somebody looks, and nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from eventbus.events import decode
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from orchestrator.embedded.redis import EmbeddedRedis
from tests.eventbus.reports import alert, motion
from tests.servers.redis import StartRedis

pytestmark = pytest.mark.xdist_group("redis")


@contextmanager
def following(
    server: EmbeddedRedis, folder: Path, *arguments: str
) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli.main", "events", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "REDIS_HOST": server.host,
            "REDIS_PORT": str(server.port),
            "REDIS_PASSWORD": server.password,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_it_tells_what_is_on_the_bus_until_ctrl_c_and_leaves_no_group(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    bus = RedisStreamsBus(RedisStreamsConfig(server.host, server.port, password=server.password))
    events = [alert("door", number) for number in range(3)]
    await bus.publish([motion("door", 9), *events])
    with following(server, tmp_path, "--json") as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in events]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (0, "", "")
    assert [decode(line.encode()) for line in told] == events
    redis = Redis(host=server.host, port=server.port, password=server.password)
    for topic in bus.topics.all:
        if await redis.exists(topic):
            assert await redis.xinfo_groups(topic) == []
    await redis.aclose()
    await bus.close()


async def test_whoever_reads_its_lines_may_have_read_enough(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    bus = RedisStreamsBus(RedisStreamsConfig(server.host, server.port, password=server.password))
    await bus.publish([alert("door", number) for number in range(2000)])
    await bus.close()
    with following(server, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.wait(30)

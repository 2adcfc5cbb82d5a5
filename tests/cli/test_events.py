"""`fess events`: what is on the bus, for as long as somebody looks, and nothing left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from eventbus.bus import Record
from eventbus.events import decode
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from orchestrator.embedded.redis import EmbeddedRedis
from tests.cli.conftest import Fess, Said
from tests.eventbus.reports import alert, motion, status
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


async def test_a_line_says_when_where_and_what_and_cannot_steer_the_terminal(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    bus = RedisStreamsBus(RedisStreamsConfig(server.host, server.port, password=server.password))
    lost = status("door", 1, "rtsp://admin:geheim@10.0.0.9/x is away\x1b[2J")
    await bus.publish([lost])
    garbage = Record(bus.topics.status, "door", "x", "?", b'{"event_type": 7}', 0.0)
    await bus.send([garbage])
    await bus.close()
    with following(server, tmp_path) as process:
        assert process.stdout is not None
        told, of_garbage = process.stdout.readline(), process.stdout.readline()
    moment = f"{lost.timestamp.astimezone():%Y-%m-%d %H:%M:%S}"
    assert told.startswith(f"{moment}  door  Camera online: rtsp://***@10.0.0.9/x is away")
    assert "\x1b" not in told
    assert of_garbage.startswith("what is no event, 17 bytes, at ")


def test_a_bus_inside_another_process_cannot_be_followed(
    fess: Fess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTS_BUS", "memory")
    said = fess("events")
    assert said.is_one_plain_error, said
    assert "EVENTS_BUS=redis" in said.err


def test_redis_is_not_started_where_the_bus_is_kafka(
    fess: Fess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVENTS_BUS", "kafka")
    monkeypatch.setattr("orchestrator.cli.events.stop_on_signals", _told_to_stop)
    assert fess("events") == Said(0, "", "")
    assert not list(tmp_path.iterdir())


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    stop.set()
    return stop


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

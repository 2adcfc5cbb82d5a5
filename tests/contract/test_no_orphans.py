"""Whatever happens to a process that started servers, nothing of them remains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.embedded.triton import shared_memory_prefix
from orchestrator.embedded.triton_files import TritonFiles
from tests.servers.triton import ROOT, write_tiny

pytestmark = pytest.mark.xdist_group("triton")

PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.embedded.triton import EmbeddedTriton

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it (nohup)

async def main():
    repository, state_dir = map(Path, sys.argv[1:3])
    async with EmbeddedRedis(state_dir), EmbeddedTriton(repository, state_dir):
        print("ready", flush=True)
        if await asyncio.to_thread(sys.stdin.readline) == "crash\\n":
            os.abort()

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "SIGKILL", "SIGHUP", "crash"])
def test_nothing_remains_when_the_parent_ends_by(
    end: str, triton_files: TritonFiles, redis_binary: Path, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "models")
    state_dir = tmp_path / "state"
    command = [sys.executable, "-c", PARENT, str(tmp_path / "models"), str(state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        started = psutil.Process(parent.pid).children(recursive=True)
        assert {process.name() for process in started} >= {
            "tritonserver",
            "redis-server",
            "triton_python_backend_stub",
        }
        assert _shared_memory(state_dir)
        if end == "crash":
            parent.stdin.write("crash\n")
            parent.stdin.flush()
        else:
            os.kill(parent.pid, signal.Signals[end])
            if end == "SIGINT":  # which Python turns into an orderly end
                parent.stdin.close()
        parent.wait(timeout=30)
        _, alive = psutil.wait_procs(started, timeout=20)
        assert not [process for process in alive if _runs(process)]
    assert not _shared_memory(state_dir)


def test_what_a_killed_guard_leaves_behind_is_cleared_by_the_next_start(
    triton_files: TritonFiles, redis_binary: Path, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "models")
    state_dir = tmp_path / "state"
    left = Path(f"/dev/shm/{shared_memory_prefix(state_dir)}left")
    left.touch()
    command = [sys.executable, "-c", PARENT, str(tmp_path / "models"), str(state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        assert not left.exists()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _shared_memory(state_dir: Path) -> list[str]:
    prefix = shared_memory_prefix(state_dir)
    deadline = time.monotonic() + 2.0
    while True:  # the guard clears it just after the last process
        found = [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)

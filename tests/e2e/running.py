"""A `fess run` in a process of its own, as an operator starts it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.embedded.loopback import free_ports
from orchestrator.settings import Settings

START_S = 60.0
STOP_S = 12.0


class Running:
    def __init__(self, folder: Path, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.port = port
        self.process = process

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; (0, b"") where nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1] or b"{}")

    def cameras(self) -> dict[str, Any]:
        found = self.json("/api/cameras").get("cameras", [])
        return {camera["camera_id"]: camera for camera in found}

    def sees(self, *names: str, frames: int = 3) -> bool:
        """Whether each of these cameras has been inspected some times."""
        cameras = self.cameras()
        return all(
            name in cameras and cameras[name]["coverage"]["inspected"] >= frames for name in names
        )

    def write_cameras(self, **cameras: dict[str, object]) -> None:
        write_cameras(self.folder, cameras)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


def write_cameras(folder: Path, cameras: dict[str, dict[str, object]]) -> None:
    # JSON is YAML too.
    part = folder / "cameras.new"
    part.write_text(json.dumps({"cameras": cameras}), encoding="utf-8")
    part.replace(folder / "cameras.yaml")


def eventually(holds: Callable[[], bool], within_s: float = START_S) -> bool:
    """Whether it comes to hold; a generous bound that only a failure reaches."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.1)
    return False


def environment(settings: Settings, port: int) -> dict[str, str]:
    """What makes `fess` use the session's servers."""
    password = settings.redis.password
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TRITON_URL": settings.triton.url,
        "REDIS_HOST": settings.redis.host,
        "REDIS_PORT": str(settings.redis.port),
        "REDIS_PASSWORD": password.get_secret_value() if password else "",
        "HTTP_PORT": str(port),
        "ENVIRONMENT": "production",
    }


@contextmanager
def running(
    folder: Path,
    settings: Settings,
    cameras: dict[str, dict[str, object]],
    *arguments: str,
    **variables: str,
) -> Iterator[Running]:
    write_cameras(folder, cameras)
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli.main", "run", *arguments],
            cwd=folder,
            env=environment(settings, port) | variables,
            stdout=log,
            stderr=log,
        )
        try:
            yield Running(folder, port, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

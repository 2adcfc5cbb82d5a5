"""Fixtures for a real RTSP server: GStreamer's, in a process of its own under the system's Python."""

import os
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from orchestrator.embedded.rtsp import PROBE, SCRIPT, SYSTEM_PYTHON
from tests.servers.require import lacking

START_S = 30.0


class RtspServer:
    """Serves files as cameras, in an endless loop. Can be stopped and started again on the same port."""

    def __init__(
        self, mounts: dict[str, Path], user: str | None = None, password: str = ""
    ) -> None:
        self._mounts = dict(mounts)
        self._user = user
        self._password = password
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def url(self, mount: str, credentials: str = "") -> str:
        return f"rtsp://{credentials and credentials + '@'}127.0.0.1:{self.port}/{mount}"

    def start(self, mounts: dict[str, Path] | None = None) -> Self:
        self._mounts = dict(mounts or self._mounts)
        pairs = [f"{name}={path}" for name, path in self._mounts.items()]
        user = ["--user", self._user] if self._user else []
        self._process = subprocess.Popen(
            [str(SYSTEM_PYTHON), str(SCRIPT), "--port", str(self.port), *user, *pairs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"RTSP_PASSWORD": self._password},
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.stop()
            raise RuntimeError("the RTSP server did not start; its messages are above")
        self.port = int(line)
        return self

    def stop(self) -> None:
        """Kill it, as a camera that loses its power."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="session")
def rtsp_python() -> Path:
    """The interpreter that has GStreamer's RTSP server."""
    if not SYSTEM_PYTHON.exists():
        lacking("rtsp", f"{SYSTEM_PYTHON} is not installed")
    found = subprocess.run(
        [SYSTEM_PYTHON, "-c", PROBE], capture_output=True, text=True, check=False
    )
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["unknown"])[-1]
        lacking(
            "rtsp",
            f"apt install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-bad ({reason})",
        )
    return SYSTEM_PYTHON


@pytest.fixture
def rtsp_server(rtsp_python: Path) -> Iterator[Callable[..., RtspServer]]:
    """Start servers: `rtsp_server({"door": clip}, user=..., password=...)`; they end with the test."""
    servers: list[RtspServer] = []

    def start(mounts: dict[str, Path], user: str | None = None, password: str = "") -> RtspServer:
        server = RtspServer(mounts, user, password)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()

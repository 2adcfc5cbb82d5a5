"""Fault 7: a switch loses its power, and fifty cameras come back at once."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings import Settings
from tests.e2e.running import Running, running
from tests.faults.site import PATIENT, metric
from tests.servers.faulty_proxy import FaultyProxy
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import make_clip

pytestmark = pytest.mark.xdist_group("rtsp")

CAMERAS = 50
PROMISED_S = 60.0
PATHS = ("/health/live", "/api/cameras", "/metrics")


class Visitor:
    """Asks for one page after the other, and remembers what came."""

    def __init__(self, fess: Running) -> None:
        self._fess = fess
        self._leaving = threading.Event()
        self.answers: Counter[int] = Counter()
        self.longest_s = 0.0

    def _visit(self) -> None:
        while not self._leaving.is_set():
            for path in PATHS:
                began_s = time.monotonic()
                self.answers[self._fess.get(path)[0]] += 1
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            self._leaving.wait(0.1)

    @contextmanager
    def visiting(self) -> Iterator[None]:
        visit = threading.Thread(target=self._visit)
        visit.start()
        try:
            yield
        finally:
            self._leaving.set()
            visit.join()


async def test_fifty_cameras_that_come_back_at_once_are_all_seen_within_a_minute_and_it_answers_meanwhile(
    settings: Settings,
    folder: Path,
    rtsp_server: Callable[..., RtspServer],
) -> None:
    clip = make_clip(folder / "clip.mp4", fps=2, pictures=20, gop=2, width=256, height=64)
    server = rtsp_server({"door": clip})
    variables = PATIENT | {"CAPTURE_CONNECT_TIMEOUT": "10", "CAPTURE_READ_TIMEOUT": "10"}
    async with FaultyProxy(server.port) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/door"
        cameras: dict[str, dict[str, object]] = {
            f"camera-{number}": {"url": url, "fps": 1.0} for number in range(CAMERAS)
        }
        with running(folder, settings, cameras, **variables) as fess:
            await all_online(fess, CAMERAS)
            visitor = Visitor(fess)
            with visitor.visiting():
                await proxy.refuse()
                await all_online(fess, 0)
                accepted = proxy.accepted
                await proxy.listen()
                await all_online(fess, CAMERAS)
            lost = await asyncio.to_thread(metric, fess, "fess_camera_losses_total")
            coverage = await asyncio.to_thread(ledgers, fess)
            assert await asyncio.to_thread(fess.stop) == 0, fess.log
    assert lost >= CAMERAS
    assert proxy.accepted - accepted >= CAMERAS
    assert set(visitor.answers) == {200}
    assert visitor.answers.total() >= len(PATHS)
    assert visitor.longest_s < 5.0
    assert len(coverage) == CAMERAS
    for one in coverage:
        assert one["decoded"] == one["inspected"] + sum(one["skipped"].values()) + one["pending"]


async def all_online(fess: Running, count: int) -> None:
    """Within what is promised."""
    try:
        async with asyncio.timeout(PROMISED_S):
            while await asyncio.to_thread(metric, fess, "fess_active_cameras") != count:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"not {count} cameras within {PROMISED_S:g} s: {fess.log[-2000:]}")


def ledgers(fess: Running) -> list[dict[str, Any]]:
    return [camera["coverage"] for camera in fess.cameras().values()]

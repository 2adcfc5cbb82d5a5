"""Fault 6: the host's clock is set an hour on and back, and nothing that waits or measures notices."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from eventbus.events import MotionDetectionEvent
from orchestrator.settings import Settings
from tests.e2e.running import Running, eventually, running
from tests.faults.site import PATIENT, clip, metric, on_the_bus
from tests.servers.host_clock import HostClock
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import make_clip

pytestmark = pytest.mark.xdist_group("triton")

HOUR_S = 3600
CAMERAS = ("door", "gate")


def test_a_clock_that_is_set_an_hour_on_and_back_loses_no_camera_and_reorders_no_event(
    settings: Settings,
    folder: Path,
    host_clock: HostClock,
    rtsp_server: Callable[..., RtspServer],
) -> None:
    began = datetime.now(UTC)
    gate = rtsp_server({"gate": make_clip(folder / "gate.mp4", first=1000)})
    cameras = {"door": clip(folder, loop=True), "gate": {"url": gate.url("gate"), "fps": 25.0}}
    variables = PATIENT | host_clock.variables
    with running(folder, settings, cameras, **variables) as fess:
        assert eventually(lambda: fess.sees(*CAMERAS)), fess.log
        for ahead_s in (HOUR_S, -HOUR_S, 0):
            host_clock.set_ahead(ahead_s)
            goals = {name: inspected(fess, name) + 15 for name in CAMERAS}
            for name, goal in goals.items():
                assert eventually(lambda n=name, g=goal: inspected(fess, n) >= g), fess.log  # type: ignore[misc]
            assert eventually(lambda: fess.json("/health").get("status") == "healthy"), fess.log
        told = {name: fess.cameras()[name]["coverage"] for name in CAMERAS}
        assert metric(fess, "fess_camera_losses_total") == 0, fess.log
        assert metric(fess, "fess_decode_threads_abandoned_total") == 0
        assert metric(fess, "fess_inference_failures_total") == 0
        assert metric(fess, "fess_events_dropped_total") == 0
        assert fess.stop() == 0, fess.log
    for coverage in told.values():
        assert coverage["skipped"]["stale"] == 0
        assert coverage["skipped"]["error"] == 0

    numbers: dict[str, list[int]] = defaultdict(list)
    hours: dict[str, set[int]] = defaultdict(set)
    for event in asyncio.run(on_the_bus(settings)):
        if isinstance(event, MotionDetectionEvent):
            numbers[event.camera_id].append(event.frame_number)
            away_s = (event.timestamp - began).total_seconds()
            hours[event.camera_id].add(round(away_s / HOUR_S))
    for name in CAMERAS:
        assert all(a < b for a, b in pairwise(numbers[name]))
        assert hours[name] == {0, 1, -1}  # what people are told is the time of the host


def inspected(fess: Running, name: str) -> int:
    found: int = fess.cameras()[name]["coverage"]["inspected"]
    return found

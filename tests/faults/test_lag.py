"""A machine that cannot keep up: pictures that waited before they were decoded are told."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from tests.e2e.running import Running, eventually, running
from tests.faults.site import PATIENT, metric
from tests.performance.exposition import samples, total
from tests.servers.rtsp import RtspServer
from tests.servers.synthetic import make_clip

pytestmark = pytest.mark.xdist_group("triton")

STANDSTILL_S = 1.5


def test_pictures_that_waited_for_the_decoder_are_behind_by_as_long(
    settings: Settings, folder: Path, rtsp_server: Callable[..., RtspServer]
) -> None:
    gate = rtsp_server({"gate": make_clip(folder / "gate.mp4")})
    with running(folder, settings, {"gate": {"url": gate.url("gate")}}, **PATIENT) as fess:
        assert eventually(lambda: fess.sees("gate", frames=5)), fess.log
        assert decoded_late(fess) == 0

        fess.process.send_signal(signal.SIGSTOP)
        time.sleep(STANDSTILL_S)
        fess.process.send_signal(signal.SIGCONT)

        # What came within the standstill waited; the first of it for about as long.
        assert eventually(lambda: decoded_late(fess) > 0), fess.log
        caught_up = decoded_in_time(fess) + 50
        assert eventually(lambda: decoded_in_time(fess) >= caught_up), fess.log
        assert metric(fess, "fess_camera_losses_total") == 0
        assert fess.stop() == 0, fess.log


def decoded_in_time(fess: Running) -> float:
    """Pictures that were not more than a second behind."""
    return metric(fess, 'fess_decode_lag_seconds_bucket{camera_id="gate",le="1.0"}')


def decoded_late(fess: Running) -> float:
    at_once = samples(fess.get("/metrics")[1].decode())
    in_time = total(at_once, "fess_decode_lag_seconds_bucket", le="1.0")
    return total(at_once, "fess_decode_lag_seconds_count") - in_time

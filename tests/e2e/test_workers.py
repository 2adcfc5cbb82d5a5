"""`fess run --workers N`: a worker that dies or hangs is replaced, and the others do not notice."""

import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.settings import Settings
from tests.e2e.running import Running, eventually, running

pytestmark = pytest.mark.xdist_group("triton")


def workers(fess: Running) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(fess.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # one that ends while it is looked at
            if child.status() != psutil.STATUS_ZOMBIE and "worker" in child.cmdline():
                found.append(child)
    return found


def cameras(clips: Path) -> dict[str, dict[str, object]]:
    one = {"url": str(clips / "one-by-one-person-detection.mp4"), "loop": True}
    return {"left": one, "right": one}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_worker_that_is_lost_is_replaced_and_the_other_goes_on(
    settings: Settings, clips: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, settings, cameras(clips), "--workers", "2") as fess:
        assert eventually(lambda: fess.sees("left", "right")), fess.log
        health = fess.json("/health")
        assert health["components"]["cameras"]["online"] == 2, health
        before = {camera["camera_id"]: camera["since"] for camera in fess.cameras().values()}
        first = workers(fess)
        first[0].send_signal(number)
        assert eventually(
            lambda: (
                {w.pid for w in workers(fess)} != {w.pid for w in first} and len(workers(fess)) == 2
            )
        ), fess.log
        assert eventually(lambda: fess.sees("left", "right")), fess.log
        after = {camera["camera_id"]: camera["since"] for camera in fess.cameras().values()}
        assert sum(after[name] == before[name] for name in before) == 1
        (lost,) = (name for name in before if after[name] != before[name])
        told = [each["sentence"] for each in fess.json("/api/events?motion=0")["events"]]
        assert any(words.startswith(f"Camera {lost} is lost: the process") for words in told), told
        assert f"Camera {lost} delivers pictures again" in told
        assert 'fess_worker_restarts_total{cause="' in fess.get("/metrics")[1].decode()
        assert fess.stop() == 0, fess.log


def test_the_front_answers_for_all_workers(settings: Settings, clips: Path, tmp_path: Path) -> None:
    with running(tmp_path, settings, cameras(clips), "--workers", "2") as fess:
        assert eventually(lambda: fess.sees("left", "right")), fess.log
        assert set(fess.cameras()) == {"left", "right"}
        for name in ("left", "right"):
            assert fess.get(f"/cameras/{name}/snapshot.jpg")[1].startswith(b"\xff\xd8")
        assert fess.get("/cameras/nobody/snapshot.jpg")[0] == 404
        metrics = fess.get("/metrics")[1].decode()
        assert 'worker="0"' in metrics
        assert 'worker="1"' in metrics
        assert metrics.count("# TYPE fess_detections_total counter") == 1
        assert b"<html" in fess.get("/")[1].lower()
        assert fess.get("/health/ready")[0] == 200


def test_no_worker_outlives_its_supervisor(settings: Settings, clips: Path, tmp_path: Path) -> None:
    with running(tmp_path, settings, cameras(clips), "--workers", "2") as fess:
        assert eventually(lambda: fess.sees("left", "right")), fess.log
        left_behind = workers(fess)
        fess.process.kill()
        fess.process.wait()
        assert eventually(lambda: not any(worker.is_running() for worker in left_behind), 15.0)

"""`fess run` as an operator meets it: a page, health, metrics, events on the bus, and an orderly end."""

import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from eventbus.events import FaceRecognitionEvent, decode
from orchestrator.buses import make_bus
from orchestrator.settings import Settings
from tests.e2e.running import eventually, running

pytestmark = pytest.mark.xdist_group("triton")


def clip(path: Path) -> dict[str, object]:
    return {"url": str(path), "loop": True}


def test_it_shows_what_it_sees_and_ends_in_order(
    settings: Settings, clips: Path, tmp_path: Path
) -> None:
    cameras = {"lobby": clip(clips / "face_brother.mkv"), "road": clip(clips / "car-detection.mp4")}
    with running(tmp_path, settings, cameras) as fess:
        assert eventually(lambda: fess.sees("lobby", "road")), fess.log
        assert eventually(lambda: fess.cameras()["lobby"]["names"] == ["Ada"]), fess.log

        status, health = fess.get("/health")[0], fess.json("/health")
        assert (status, health["status"]) == (200, "healthy"), health
        assert health["components"]["cameras"]["online"] == 2
        assert health["components"]["triton"]["latency_ms"] > 0

        metrics = fess.get("/metrics")[1].decode()
        assert 'fess_detections_total{camera_id="lobby",object_class="person"}' in metrics
        assert "fess_active_cameras 2.0" in metrics

        assert fess.get("/cameras/lobby/snapshot.jpg")[1].startswith(b"\xff\xd8")
        assert b"<html" in fess.get("/")[1].lower()

        for camera in fess.cameras().values():
            coverage = camera["coverage"]
            left = coverage["inspected"] + sum(coverage["skipped"].values()) + coverage["pending"]
            assert coverage["decoded"] == left

        assert fess.stop() == 0, fess.log


def test_its_events_are_on_the_bus(settings: Settings, clips: Path, tmp_path: Path) -> None:
    with running(tmp_path, settings, {"bus-door": clip(clips / "face_milk.mkv")}) as fess:
        assert eventually(lambda: fess.sees("bus-door", frames=10)), fess.log
        assert fess.stop() == 0, fess.log
    faces = asyncio.run(_faces_on_the_bus(settings, "bus-door"))
    assert {face.person_name for face in faces} == {"Ben"}


async def _faces_on_the_bus(settings: Settings, camera_id: str) -> list[FaceRecognitionEvent]:
    bus = make_bus(settings)
    found: list[FaceRecognitionEvent] = []
    try:
        async with (
            asyncio.timeout(20),
            aclosing(bus.subscribe([bus.topics.faces], f"test-{time.time_ns()}")) as deliveries,
        ):
            async for delivery in deliveries:
                event = decode(delivery.payload)
                if isinstance(event, FaceRecognitionEvent) and event.camera_id == camera_id:
                    found.append(event)
                    return found
    finally:
        await bus.close()
    return found


def test_cameras_come_go_and_change_without_touching_the_others(
    settings: Settings, clips: Path, tmp_path: Path
) -> None:
    stays = clip(clips / "one-by-one-person-detection.mp4")
    with running(tmp_path, settings, {"stays": stays}) as fess:
        assert eventually(lambda: fess.sees("stays")), fess.log
        since = fess.cameras()["stays"]["since"]

        fess.write_cameras(stays=stays, comes=clip(clips / "face_milk.mkv"))
        assert eventually(lambda: fess.sees("comes")), fess.log
        fess.write_cameras(stays=stays)
        assert eventually(lambda: "comes" not in fess.cameras()), fess.log

        (fess.folder / "cameras.yaml").write_text("cameras: {stays: {urll: x}}", encoding="utf-8")
        assert eventually(lambda: "did you mean" in fess.log), fess.log
        assert fess.cameras()["stays"]["since"] == since


def test_servers_that_are_away_at_the_start_are_waited_for_with_a_message(
    settings: Settings, clips: Path, tmp_path: Path
) -> None:
    away = {"TRITON_URL": "127.0.0.1:9", "REDIS_PORT": "9"}
    cameras = {"lobby": clip(clips / "face_milk.mkv")}
    with running(tmp_path, settings, cameras, **away) as fess:
        assert eventually(lambda: "waiting for Triton" in fess.log), fess.log
        assert eventually(lambda: fess.get("/health")[0] == 503), fess.log
        components = fess.json("/health")["components"]
        assert not components["triton"]["healthy"]
        assert not components["redis"]["healthy"]
        assert fess.get("/health/live")[0] == 200
        assert fess.process.poll() is None
        assert fess.stop() == 0, fess.log


def test_in_production_every_line_that_it_says_is_json(settings: Settings, tmp_path: Path) -> None:
    with running(tmp_path, settings, {}, ENVIRONMENT="production") as fess:
        assert eventually(lambda: fess.get("/health/live")[0] == 200), fess.log
        assert fess.stop() == 0, fess.log
    said = [json.loads(line)["message"] for line in fess.log.splitlines()]
    assert any(words.startswith("page: http://") for words in said)


def test_a_password_in_an_address_is_shown_nowhere(settings: Settings, tmp_path: Path) -> None:
    cameras: dict[str, dict[str, object]] = {
        "gate": {"url": "rtsp://admin:hunter2secret@127.0.0.1:9/stream"}
    }
    with running(tmp_path, settings, cameras, LOG_LEVEL="DEBUG") as fess:
        assert eventually(lambda: fess.cameras().get("gate", {}).get("state") == "offline"), (
            fess.log
        )
        shown = b"".join(
            fess.get(path)[1] for path in ("/health", "/metrics", "/api/cameras", "/api/events")
        )
        fess.stop()
    assert b"hunter2secret" not in shown
    assert "hunter2secret" not in fess.log

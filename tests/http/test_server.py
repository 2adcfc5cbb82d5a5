"""The HTTP server: health, metrics, API and files, asked by a real client."""

import json
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.board import STATUSES, Board
from orchestrator.camera import CameraState
from orchestrator.errors import InferenceUnavailable, SettingsError
from orchestrator.health import Health
from orchestrator.http import HttpServer
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.settings import HttpSettings
from tests.http.conftest import OpenSite, Site, quick
from tests.http.footage import camera, mark, view
from tests.test_board import face, motion, status

CONTRACT = {
    "fess_detections",
    "fess_detection_latency_seconds",
    "fess_face_recognitions",
    "fess_face_cache_hits",
    "fess_face_cache_misses",
    "fess_kafka_events_sent",
    "fess_active_cameras",
    "fess_fps",
    "fess_memory_usage_bytes",
    "fess_cpu_usage_percent",
}


async def down() -> float:
    raise InferenceUnavailable("refused")


async def test_health_answers_200_while_inspection_goes_on(site: Site) -> None:
    async with site.get("/health") as response:
        assert response.status == 200
        document = await response.json()
    assert document["status"] == "healthy"
    assert document["components"]["redis"] == {"healthy": True, "enabled": True, "latency_ms": 2.0}


async def test_health_answers_200_while_degraded(open_site: OpenSite) -> None:
    site = await open_site(checks={"triton": quick, "redis": down})
    async with site.get("/health") as response:
        assert (response.status, (await response.json())["status"]) == (200, "degraded")


async def test_health_and_readiness_answer_503_without_triton_but_the_process_lives(
    open_site: OpenSite,
) -> None:
    site = await open_site(checks={"triton": down, "redis": quick})
    found = {}
    for path in ("/health", "/health/ready", "/health/live"):
        async with site.get(path) as response:
            found[path] = response.status
    assert found == {"/health": 503, "/health/ready": 503, "/health/live": 200}


async def test_metrics_have_every_name_of_the_contract(site: Site) -> None:
    async with site.get("/metrics") as response:
        assert response.content_type == "text/plain"
        families = {f.name for f in text_string_to_metric_families(await response.text())}
    assert families >= CONTRACT


async def test_the_ledger_balances_in_metrics_and_api_alike(site: Site) -> None:
    ledger = CameraLedger()
    site.board.add_camera(camera(), ledger)
    for _ in range(25):
        ledger.decoded()
    for cause in Skip:
        ledger.skipped(cause)
    for _ in range(5):
        ledger.inspected()
    async with site.get("/api/cameras") as response:
        (document,) = (await response.json())["cameras"]
    account = document["coverage"]
    assert account["decoded"] == 25
    assert account["inspected"] + sum(account["skipped"].values()) + account["pending"] == 25
    async with site.get("/metrics") as response:
        text = await response.text()
    assert 'fess_frames_decoded_total{camera_id="door"} 25.0' in text
    assert 'fess_frames_inspected_total{camera_id="door"} 5.0' in text
    assert 'fess_frames_pending{camera_id="door"} 15.0' in text
    for cause in Skip:
        assert f'fess_frames_skipped_total{{camera_id="door",cause="{cause}"}} 1.0' in text


async def test_the_api_gives_back_what_the_board_holds_and_no_credential(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.set_state("door", CameraState.ONLINE, "rtsp://viewer:geheim@10.0.0.7 is back")
    site.board.show("door", view(mark("Anna", "known")))
    async with site.get("/api/cameras") as response:
        body = await response.text()
    assert "geheim" not in body
    (read_back,) = STATUSES.validate_python(json.loads(body)["cameras"])
    (shown,) = site.board.cameras()
    assert (read_back.camera_id, read_back.names) == ("door", ("Anna",))
    assert read_back.coverage == shown.coverage
    assert read_back.view_number == shown.view_number


async def test_events_come_newest_first_in_words_and_whole(site: Site) -> None:
    site.board.record_event(status("online"))
    site.board.record_event(face("Anna"))
    site.board.record_event(motion(1, "person"))
    async with site.get("/api/events") as response:
        events = (await response.json())["events"]
    assert [e["sentence"] for e in events] == [
        "Saw 1 person",
        "Recognised Anna (0.71)",
        "Camera online",
    ]
    assert events[1]["event"]["person_name"] == "Anna"
    async with site.get("/api/events?motion=0&limit=1") as response:
        (event,) = (await response.json())["events"]
    assert event["event"]["event_type"] == "face.recognized"


async def test_a_limit_that_is_no_number_is_refused(site: Site) -> None:
    async with site.get("/api/events?limit=all") as response:
        assert response.status == 400


async def test_the_page_and_its_parts_are_served_from_the_package(site: Site) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/page/page.css", "text/css"),
        ("/page/page.js", "text/javascript"),
    ):
        async with site.get(path) as response:
            assert (response.status, response.content_type) == (200, kind)


@pytest.mark.parametrize(
    "path",
    [
        "/page/../http.py",
        "/page/%2e%2e/http.py",
        "/page/%2e%2e%2fhttp.py",
        "/page/..%5chttp.py",
        "/page/page.js%00.css",
        "/page//etc/passwd",
        "/page/",
        "/cameras/../health/snapshot.jpg",
        "/cameras/%2e%2e%2f/snapshot.jpg",
        "/cameras/unknown/snapshot.jpg",
        "/cameras/unknown/stream.mjpg",
        "/cameras/door%00/snapshot.jpg",
    ],
)
async def test_nothing_but_what_is_listed_can_be_asked_for(site: Site, path: str) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view())
    async with site.get(path) as response:
        assert response.status == 404


async def test_a_port_in_use_is_named_with_its_mend(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        board = Board()
        health = Health(board, {"triton": quick}, disk=tmp_path)
        server = HttpServer(
            HttpSettings(port=port), board=board, health=health, registry=CollectorRegistry()
        )
        with pytest.raises(SettingsError, match=f"{port} is in use .* set HTTP_PORT"):
            async with server:
                pass


async def test_an_address_of_another_machine_is_named_with_its_mend(tmp_path: Path) -> None:
    board = Board()
    server = HttpServer(
        HttpSettings(host="127.0.0.1", port=0).model_copy(update={"host": "::1%none"}),
        board=board,
        health=Health(board, {"triton": quick}, disk=tmp_path),
        registry=CollectorRegistry(),
    )
    with pytest.raises(SettingsError, match="HTTP_HOST"):
        async with server:
            pass

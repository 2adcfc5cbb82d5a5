"""One front for all workers: what each shows is there under one address and one token."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.camera import CameraState
from orchestrator.errors import SettingsError
from orchestrator.ledger import CameraLedger
from orchestrator.report import camera_status
from orchestrator.settings import HttpSettings
from orchestrator.workers.gateway import Gateway
from tests.http.footage import NOON, camera, grey, view
from tests.test_board import motion
from tests.workers.conftest import TOKEN, Front


async def told(front: Front, path: str) -> Any:
    status, body = await front.get(path)
    assert status == 200, body
    return json.loads(body)


async def test_before_any_worker_listens_it_lives_and_is_not_ready(front: Front) -> None:
    assert (await front.get("/health/live"))[0] == 200
    assert (await front.get("/health/ready"))[0] == 503
    status, body = await front.get("/health")
    assert (status, json.loads(body)["status"]) == (503, "unhealthy")
    assert (await front.get("/"))[0] == 503
    assert await told(front, "/api/cameras") == {"cameras": []}


async def test_it_is_ready_once_every_worker_is(front: Front) -> None:
    await front.start(0, "a")
    assert (await front.get("/health/ready"))[0] == 503
    assert (await told(front, "/health"))["status"] == "degraded"
    await front.start(1, "b")
    assert (await front.get("/health/ready"))[0] == 200
    assert (await told(front, "/health"))["status"] == "healthy"


async def test_cameras_of_all_workers_are_listed_by_name(front: Front) -> None:
    await front.start(0, "b", "d")
    await front.start(1, "a", "c")
    cameras = (await told(front, "/api/cameras"))["cameras"]
    assert [camera["camera_id"] for camera in cameras] == ["a", "b", "c", "d"]


async def test_events_of_all_workers_come_newest_first_and_no_more_than_wanted(
    front: Front,
) -> None:
    boards = [await front.start(0, "a"), await front.start(1, "b")]
    for number in range(6):
        event = motion(number).model_copy(
            update={"timestamp": NOON + timedelta(seconds=number), "camera_id": "ab"[number % 2]}
        )
        boards[number % 2].record_event(event)
    events = (await told(front, "/api/events?limit=4"))["events"]
    assert [event["event"]["camera_id"] for event in events] == ["b", "a", "b", "a"]
    times = [event["event"]["timestamp"] for event in events]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("limit", ["many", "1.5", ""])
async def test_a_limit_that_is_no_number_is_the_askers_mistake(front: Front, limit: str) -> None:
    await front.start(0, "a")
    await front.start(1, "b")
    assert (await front.get(f"/api/events?limit={limit}"))[0] == 400


async def test_metrics_of_all_workers_are_told_apart(front: Front) -> None:
    await front.start(0, "a")
    await front.start(1, "b")
    body = (await front.get("/metrics"))[1].decode()
    detections = 'fess_detections_total{{camera_id="{}",object_class="person",worker="{}"}} 1.0'
    assert detections.format("a", 0) in body
    assert detections.format("b", 1) in body
    assert body.count("# TYPE fess_detections_total counter") == 1


async def test_a_picture_comes_from_the_worker_that_holds_the_camera(front: Front) -> None:
    await front.start(0, "a")
    board = await front.start(1, "b")
    board.show("b", view(picture=grey(level=250), camera_id="b"))
    pictures = [await front.get(f"/cameras/{name}/snapshot.jpg") for name in "ab"]
    assert [status for status, _ in pictures] == [200, 200]
    assert all(body.startswith(b"\xff\xd8") for _, body in pictures)
    assert pictures[0][1] != pictures[1][1]


@pytest.mark.parametrize(
    "path",
    [
        "/cameras/nobody/snapshot.jpg",
        "/cameras/a/secrets.txt",
        "/cameras/%2e%2e/snapshot.jpg",
        "/page/..%2fpage.js",
        "/nothing/here",
    ],
)
async def test_what_is_not_there_is_not_found(front: Front, path: str) -> None:
    await front.start(0, "a")
    await front.start(1, "b")
    assert (await front.get(path))[0] == 404


async def test_the_page_and_its_files_come_through(front: Front) -> None:
    await front.start(1, "b")
    assert b"<html" in (await front.get("/"))[1].lower()
    async with front.client.get("/page/page.js") as answer:
        assert (answer.status, answer.content_type) == (200, "text/javascript")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    async with front.client.head("/page/page.js") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_camera_whose_worker_is_starting_is_asked_for_again_soon(front: Front) -> None:
    await front.start(0, "a")
    front.slot(0).http_port = None
    async with front.client.get("/cameras/a/snapshot.jpg") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_a_worker_that_died_costs_its_own_pictures_only(front: Front) -> None:
    await front.start(0, "a")
    await front.start(1, "b")
    await front.stop(0)
    assert (await front.get("/cameras/a/snapshot.jpg"))[0] == 502
    assert (await front.get("/cameras/b/snapshot.jpg"))[0] == 200
    health = await told(front, "/health")
    assert health["status"] == "degraded"
    assert health["components"]["workers"]["error"] == "worker 0 does not answer"
    assert len((await told(front, "/api/cameras"))["cameras"]) == 1


async def test_a_camera_whose_worker_is_gone_is_shown_as_lost_until_a_worker_shows_it(
    front: Front,
) -> None:
    reason = "the process that watched it died"
    lost = front.supervisor.board
    lost.add_camera(camera("a"), CameraLedger())
    lost.set_state("a", CameraState.OFFLINE, reason)
    lost.record_event(camera_status("a", CameraState.OFFLINE, reason, NOON))
    starting = json.loads((await front.get("/health"))[1])
    assert starting["components"]["cameras"]["total"] == 1
    await front.start(1, "b")
    (a, b) = (await told(front, "/api/cameras"))["cameras"]
    assert (a["state"], a["detail"], b["state"]) == ("offline", reason, "online")
    assert (await told(front, "/health"))["components"]["cameras"]["online"] == 1
    (event,) = (await told(front, "/api/events"))["events"]
    assert event["sentence"] == f"Camera offline: {reason}"
    await front.start(0, "a")
    assert [each["state"] for each in (await told(front, "/api/cameras"))["cameras"]] == [
        "online",
        "online",
    ]
    assert (await told(front, "/health"))["components"]["cameras"]["total"] == 2


async def test_something_else_on_a_workers_port_is_no_worker(front: Front) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\nConnection: close\r\n\r\noops!")
        await writer.drain()
        writer.close()

    await front.start(1, "b")
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as other:
        front.slot(0).http_port = other.sockets[0].getsockname()[1]
        assert (await told(front, "/health"))["status"] == "degraded"
        assert len((await told(front, "/api/cameras"))["cameras"]) == 1
        assert (await told(front, "/api/events"))["events"] == []
        assert b'worker="1"' in (await front.get("/metrics"))[1]


async def test_a_live_picture_is_passed_on_as_it_comes(front: Front) -> None:
    board = await front.start(0, "a")
    async with front.client.get("/cameras/a/stream.mjpg") as answer:
        assert answer.content_type == "multipart/x-mixed-replace"
        first = await answer.content.readuntil(b"\xff\xd9")
        board.show("a", view(picture=grey(level=200), camera_id="a"))
        second = await answer.content.readuntil(b"\xff\xd9")
    assert first.count(b"\xff\xd8") == second.count(b"\xff\xd8") == 1


async def test_a_live_picture_whose_worker_dies_ends_and_nothing_foreign_is_in_it(
    front: Front,
) -> None:
    async def one_piece(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npiece\r\n")
        await writer.drain()
        writer.transport.abort()

    await front.start(1, "b")
    async with await asyncio.start_server(one_piece, "127.0.0.1", 0) as dying:
        front.slot(1).http_port = dying.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", front.gateway.port)
        writer.write(b"GET /cameras/b/stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            received = await reader.read()
        writer.close()
    assert received.count(b"HTTP/1.1") == 1
    assert b"Bad Gateway" not in received


async def test_without_the_token_nothing_is_shown(guarded_front: Front) -> None:
    await guarded_front.start(0, "a")
    await guarded_front.start(1, "b")
    for path in ("/", "/api/cameras", "/api/events", "/cameras/a/snapshot.jpg"):
        assert (await guarded_front.get(path))[0] == 401
        assert (await guarded_front.get(path, Authorization=f"Bearer {TOKEN}"))[0] == 200
    assert (await guarded_front.get("/health"))[0] == 200


async def test_a_token_in_the_address_is_exchanged_and_does_not_reach_the_workers(
    guarded_front: Front,
) -> None:
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as worker:
        guarded_front.slot(0).http_port = worker.sockets[0].getsockname()[1]
        assert (await guarded_front.get(f"/?token={TOKEN}"))[0] == 200
        assert (await guarded_front.get(f"/page/page.js?token={TOKEN}"))[0] == 200
        assert (await guarded_front.get("/", Authorization=f"Bearer {TOKEN}"))[0] == 200
    assert seen
    assert not any(TOKEN.encode() in request for request in seen)


async def test_an_address_that_is_taken_is_told_with_the_mend(front: Front) -> None:
    taken = HttpSettings(port=front.gateway.port)
    with pytest.raises(SettingsError, match="HTTP_PORT"):
        async with Gateway(taken, front.supervisor, CollectorRegistry()):
            pass

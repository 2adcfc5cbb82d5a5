"""One front for all workers: their pages, health and metrics under the operator's address and token."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from orchestrator.access import Access
from orchestrator.health import HealthDocument, cameras_health
from orchestrator.http import camera_documents, event_documents, listen
from orchestrator.settings import HttpSettings
from orchestrator.workers.merging import merged_health, merged_metrics, starting
from orchestrator.workers.supervisor import WorkerSupervisor

ANSWER_S = 5.0
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=15.0)
PASSED_ON = ("Content-Type", "Cache-Control")
ANSWERED = (200, 503)  # 503 is the health of a worker that is ill


class Gateway:
    """Serves while its `async with` block lasts. Raises SettingsError where it cannot, or must not, listen."""

    def __init__(
        self, settings: HttpSettings, supervisor: WorkerSupervisor, registry: CollectorRegistry
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._registry = registry
        self._access = Access(settings)
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._access.middleware()])
        app.on_response_prepare.append(self._access.add_headers)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/api/cameras", self._cameras),
                web.get("/api/events", self._events),
                web.get("/cameras/{camera_id}/{picture}", self._picture, allow_head=False),
                web.get("/{page:.*}", self._page),
            ]
        )
        self._runner = await listen(app, self._settings)
        self._client = aiohttp.ClientSession(timeout=TIMEOUT)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def _health(self, _request: web.Request) -> web.Response:
        document = await self._health_document()
        return web.Response(
            text=document.model_dump_json(exclude_none=True),
            content_type="application/json",
            status=503 if document.status == "unhealthy" else 200,
        )

    async def _health_document(self) -> HealthDocument:
        answers = await self._ask("/health")
        documents = {
            number: HealthDocument.model_validate_json(body)
            for number, body in answers.items()
            if body is not None
        }
        missing = [number for number, body in answers.items() if body is None]
        unwatched = cameras_health(self._supervisor.board.cameras()).cameras
        if not documents:
            return starting(datetime.now(UTC), unwatched)
        return merged_health(documents, missing, unwatched)

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = all(slot.http_port is not None for slot in self._supervisor.slots)
        ready = ready and (await self._health_document()).ready
        words = "ready" if ready else "not ready"
        return web.json_response({"status": words}, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        bodies = {number: body for number, body in (await self._ask("/metrics")).items() if body}
        own = generate_latest(self._registry)
        return web.Response(
            body=merged_metrics(own, bodies), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _cameras(self, _request: web.Request) -> web.Response:
        answers = await self._ask("/api/cameras")
        cameras = {
            str(camera["camera_id"]): camera
            for found in (self._unwatched(), *_parsed(answers))
            for camera in found["cameras"]
        }
        return web.json_response({"cameras": [cameras[name] for name in sorted(cameras)]})

    def _unwatched(self) -> dict[str, Any]:
        """What a worker that is gone would answer of its cameras, and what was told in its stead."""
        board = self._supervisor.board
        return {
            "cameras": camera_documents(board.cameras()),
            "events": event_documents(board.events()),
        }

    async def _events(self, request: web.Request) -> web.Response:
        limit = _limit(request)
        motion = request.query.get("motion", "1")
        answers = await self._ask(f"/api/events?{urlencode({'limit': limit, 'motion': motion})}")
        found = (self._unwatched(), *_parsed(answers))
        events = [event for each in found for event in each["events"]]
        events.sort(key=lambda each: str(each["event"]["timestamp"]), reverse=True)
        return web.json_response({"events": events[:limit]})

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        slot = self._supervisor.slot_of(request.match_info["camera_id"])
        if slot is None:
            raise web.HTTPNotFound(text="no such camera\n")
        return await self._pass_on(request, slot.http_port)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        ports = [slot.http_port for slot in self._supervisor.slots if slot.http_port is not None]
        return await self._pass_on(request, ports[0] if ports else None)

    async def _pass_on(self, request: web.Request, port: int | None) -> web.StreamResponse:
        """Stream a worker's answer through, as it comes."""
        assert self._client is not None
        if port is None:
            raise web.HTTPServiceUnavailable(
                text="its worker is starting\n", headers={"Retry-After": "1"}
            )
        url = f"http://127.0.0.1:{port}{request.rel_url.raw_path}"
        params = {key: value for key, value in request.query.items() if key != "token"}
        response = web.StreamResponse()
        try:
            async with self._client.get(url, params=params, allow_redirects=False) as answer:
                response.set_status(answer.status)
                for name in PASSED_ON:
                    if name in answer.headers:
                        response.headers[name] = answer.headers[name]
                await response.prepare(request)
                if request.method != "HEAD":
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            if not response.prepared:
                raise web.HTTPBadGateway(text="its worker does not answer\n") from error
            if request.transport is not None:
                request.transport.abort()  # in the middle of an answer: it must not look whole
        return response

    async def _ask(self, path: str) -> dict[int, bytes | None]:
        """Every worker's answer, None where there is none."""
        async with asyncio.TaskGroup() as tasks:
            asked = {
                slot.number: tasks.create_task(self._read(slot.http_port, path))
                for slot in self._supervisor.slots
            }
        return {number: task.result() for number, task in asked.items()}

    async def _read(self, port: int | None, path: str) -> bytes | None:
        assert self._client is not None
        if port is None:
            return None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.get(f"http://127.0.0.1:{port}{path}") as answer,
            ):
                return await answer.read() if answer.status in ANSWERED else None
        return None


def _parsed(answers: dict[int, bytes | None]) -> Iterator[dict[str, Any]]:  # JSON of our own API
    return (json.loads(body) for body in answers.values() if body is not None)


def _limit(request: web.Request) -> int:
    try:
        return max(int(request.query.get("limit", "200")), 0)
    except ValueError:
        raise web.HTTPBadRequest(text="limit is a whole number\n") from None

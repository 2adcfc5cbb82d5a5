"""The HTTP side of the process: health, metrics, the page, its pictures and its API."""

import asyncio
import errno
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from types import TracebackType
from typing import NoReturn, Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from eventbus.events import Event
from orchestrator.access import Access
from orchestrator.board import EVENTS_KEPT, STATUSES, Board, CameraStatus
from orchestrator.errors import SettingsError
from orchestrator.health import Health, LedgerHealth
from orchestrator.live_picture import LivePictures
from orchestrator.sentence import sentence
from orchestrator.settings import HttpSettings
from orchestrator.telemetry import scrub

WATCHERS_MOST = 32
SNAPSHOTS_MOST = 32
# A stream never sends faster than eyes need, and gives up on a client that takes nothing.
STREAM_INTERVAL_S = 1 / 15
STREAM_PATIENCE_S = 10.0
BOUNDARY = "fess-picture"

PAGE: Mapping[str, str] = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
}
JPEG_TYPE = "image/jpeg"


class HttpServer:
    """Serves while its `async with` block lasts. Raises SettingsError where it cannot, or must not, listen."""

    def __init__(
        self,
        settings: HttpSettings,
        *,
        board: Board,
        health: Health,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._board = board
        self._health = health
        self._registry = registry
        self._access = Access(settings)
        self._pictures = LivePictures(board)
        self._watchers = 0
        self._snapshots = 0
        self._page = {name: _packaged(name) for name in PAGE}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = await listen(self.app(), self._settings)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._pictures.close()

    @property
    def port(self) -> int:
        """Where it listens: of use where the settings say 0, any free one."""
        if self._runner is None:
            return self._settings.port
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._access.middleware()])
        app.on_response_prepare.append(self._access.add_headers)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/page/{name}", self._page_file),
                web.get("/health", self._full_health),
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/api/cameras", self._cameras),
                web.get("/api/events", self._events),
                web.get("/cameras/{camera_id}/snapshot.jpg", self._snapshot),
                # A HEAD request for something endless would wait for ever.
                web.get("/cameras/{camera_id}/stream.mjpg", self._stream, allow_head=False),
            ]
        )
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        return self._file("index.html")

    async def _page_file(self, request: web.Request) -> web.Response:
        # Names, not paths: nothing outside this table can be asked for.
        name = request.match_info["name"]
        if name not in self._page:
            raise web.HTTPNotFound
        return self._file(name)

    def _file(self, name: str) -> web.Response:
        return web.Response(
            body=self._page[name],
            content_type=PAGE[name],
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )

    async def _full_health(self, _request: web.Request) -> web.Response:
        document = await self._health.report()
        return web.Response(
            text=document.model_dump_json(exclude_none=True),
            content_type="application/json",
            status=503 if document.status == "unhealthy" else 200,
        )

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = (await self._health.report()).ready
        words = "ready" if ready else "not ready"
        return web.json_response({"status": words}, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _cameras(self, _request: web.Request) -> web.Response:
        return web.json_response({"cameras": camera_documents(self._board.cameras())})

    async def _events(self, request: web.Request) -> web.Response:
        try:
            limit = int(request.query.get("limit", EVENTS_KEPT))
        except ValueError:
            raise web.HTTPBadRequest(text="limit is a whole number\n") from None
        events = self._board.events(max(limit, 0), motion=request.query.get("motion") != "0")
        return web.json_response({"events": event_documents(events)})

    async def _snapshot(self, request: web.Request) -> web.Response:
        camera_id = self._known(request)
        _, view = self._board.view(camera_id)
        if view is None:
            raise web.HTTPServiceUnavailable(text="no picture yet\n", headers={"Retry-After": "1"})
        if self._snapshots >= SNAPSHOTS_MOST:
            raise web.HTTPServiceUnavailable(
                text="too many at once\n", headers={"Retry-After": "1"}
            )
        self._snapshots += 1
        try:
            if request.query.get("plain") == "1":
                body = await self._pictures.plain_jpeg(view)
            else:
                _, body = await self._pictures.next_jpeg(camera_id, 0)
        except KeyError:
            raise web.HTTPNotFound from None
        finally:
            self._snapshots -= 1
        return web.Response(body=body, content_type=JPEG_TYPE)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        camera_id = self._known(request)
        if self._watchers >= WATCHERS_MOST:
            raise web.HTTPServiceUnavailable(
                text=f"{WATCHERS_MOST} are watching already\n", headers={"Retry-After": "5"}
            )
        self._watchers += 1
        try:
            response = web.StreamResponse(
                headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"}
            )
            await response.prepare(request)
            await self._send_pictures(camera_id, response)
        except KeyError:
            return response  # the camera was removed
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()  # a client that takes nothing would keep its buffer
            return response
        finally:
            self._watchers -= 1

    async def _send_pictures(self, camera_id: str, response: web.StreamResponse) -> NoReturn:
        """Send each view that the client is quick enough for."""
        number = 0
        # The head of the next part follows each picture at once, and so tells no length: browsers show a
        # picture when the part after it begins, and that may be long in coming.
        head = f"--{BOUNDARY}\r\nContent-Type: {JPEG_TYPE}\r\n\r\n".encode()
        await response.write(head)
        while True:
            number, jpeg = await self._pictures.next_jpeg(camera_id, number)
            sent_s = time.monotonic()
            async with asyncio.timeout(STREAM_PATIENCE_S):
                await response.write(jpeg + b"\r\n" + head)
            await asyncio.sleep(max(0.0, sent_s + STREAM_INTERVAL_S - time.monotonic()))

    def _known(self, request: web.Request) -> str:
        camera_id = request.match_info["camera_id"]
        try:
            self._board.view(camera_id)
        except KeyError:
            raise web.HTTPNotFound(text="no such camera\n") from None
        return camera_id


def camera_documents(statuses: tuple[CameraStatus, ...]) -> list[dict[str, object]]:
    """What /api/cameras answers; `STATUSES` reads it back."""
    documents: list[dict[str, object]] = STATUSES.dump_python(statuses, mode="json")
    for document, status in zip(documents, statuses, strict=True):
        document["detail"] = scrub(status.detail)
        document["coverage"] = LedgerHealth.of(status.coverage).model_dump(mode="json")
    return documents


def event_documents(events: Sequence[Event]) -> list[dict[str, object]]:
    """What /api/events answers."""
    return [
        {"sentence": scrub(sentence(event)), "event": event.model_dump(mode="json")}
        for event in events
    ]


def _packaged(name: str) -> bytes:
    return resources.files("orchestrator").joinpath("page", name).read_bytes()


async def require_address(settings: HttpSettings) -> None:
    """Tell before anything is fetched or started what `HttpServer` would tell after it. Raises SettingsError."""
    Access(settings)
    await (await listen(web.Application(), settings)).cleanup()


async def listen(app: web.Application, settings: HttpSettings) -> web.AppRunner:
    """Serve until the runner is cleaned up. Raises SettingsError."""
    # access_log=None: aiohttp's own would write the query, and with it the token.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        await runner.cleanup()
        raise _cannot_listen(settings, error) from error
    return runner


def _cannot_listen(settings: HttpSettings, error: OSError) -> SettingsError:
    where = f"{settings.host}:{settings.port}"
    match error.errno:
        case errno.EADDRINUSE:
            words = (
                f"{where} is in use by another program: set HTTP_PORT to a free port, or 0 for any"
            )
        case errno.EACCES:
            words = f"this user may not listen on {where}: set HTTP_PORT to 1024 or above"
        case _:
            words = (
                f"cannot listen on {where} ({error.strerror or error}): "
                "set HTTP_HOST to an address of this machine, such as 127.0.0.1"
            )
    return SettingsError(words)

"""Things to fetch, and an address that serves them as a test wants."""

import hashlib
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from rich.console import Console

from export.fetch import fetch
from export.manifest import Download, Source

MEND = "set FESS_MODELS_MIRROR"
CONTENT = bytes(range(256)) * 4096  # 1 MiB


def item(url: str | None = None, content: bytes = CONTENT, *, sized: bool = True) -> Download:
    digest = hashlib.sha256(content).hexdigest()
    return Download(
        name="weights",
        file="weights.onnx",
        licence="Apache-2.0",
        homepage="https://example.org/weights",
        sha256=digest,
        size=len(content) if sized else None,
        sources=(Source(url=url, sha256=digest),) if url else (),
    )


def mirror(folder: Path, content: bytes = CONTENT, *, listed: bytes | None = None) -> Path:
    """A folder with the file and a SHA256SUMS, of other content on request."""
    folder.mkdir()
    (folder / "weights.onnx").write_bytes(content)
    digest = hashlib.sha256(content if listed is None else listed).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  weights.onnx\n")
    return folder


@dataclass
class Address:
    """A web server on this machine; `ranges` holds the Range header of every request."""

    url: str = ""
    ranges: list[str | None] = field(default_factory=list)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def whole(request: web.Request) -> web.StreamResponse:
    """Serve the file as a static server does, ranges included."""
    start = request.http_range.start or 0
    if start >= len(CONTENT):
        return web.Response(status=416)
    status = 206 if "Range" in request.headers else 200
    return web.Response(status=status, body=CONTENT[start:])


def cut_after(size: int) -> Answer:
    """Promise the rest of the file, and hang up after some bytes of it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(CONTENT) - start
        await response.prepare(request)
        await response.write(CONTENT[start : start + size])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


async def fetched(
    things: Sequence[Download], store: Path, *, source: Path | None = None
) -> tuple[tuple[Path, ...], str]:
    """Fetch, and return the paths and what was shown."""
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    paths = await fetch(things, store, mirror=source, mend=MEND, console=console)
    return paths, stream.getvalue()


def left_in(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()} - {".lock"}

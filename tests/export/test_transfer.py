"""Fetching over HTTP: a broken transfer goes on where it stopped, and only the right bytes are kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from export import transfer
from export.manifest import Source
from orchestrator.errors import ModelError
from tests.export.store import (
    CONTENT,
    MEND,
    Address,
    Answer,
    cut_after,
    fetched,
    item,
    left_in,
    whole,
)

Serve = Callable[..., Awaitable[Address]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Start an address that gives the answers one after the other, the last one for ever."""
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    async with AsyncExitStack() as servers:

        async def start(*answers: Answer) -> Address:
            address, left = Address(), list(answers)

            async def handle(request: web.Request) -> web.StreamResponse:
                address.ranges.append(request.headers.get("Range"))
                return await (left.pop(0) if len(left) > 1 else left[0])(request)

            app = web.Application()
            app.router.add_get("/weights.onnx", handle)
            runner = web.AppRunner(app)
            await runner.setup()
            servers.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            address.url = f"http://{host}:{port}/weights.onnx"
            return address

        yield start


async def test_a_file_is_fetched_whole(serve: Serve, tmp_path: Path) -> None:
    address = await serve(whole)
    (path,), shown = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert "licence Apache-2.0" in shown
    assert address.ranges == [None]
    assert left_in(tmp_path) == {"weights.onnx"}


async def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(
    serve: Serve, tmp_path: Path
) -> None:
    address = await serve(cut_after(300_000), cut_after(400_000), whole)
    (path,), _ = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert address.ranges == [None, "bytes=300000-", "bytes=700000-"]


async def test_what_came_in_an_earlier_run_is_not_fetched_again(
    serve: Serve, tmp_path: Path
) -> None:
    address = await serve(*[cut_after(100_000)] * 3, whole)
    with pytest.raises(ModelError, match=r"weights\.onnx: cannot be fetched: http://127.*; set"):
        await fetched([item(address.url)], tmp_path)
    assert left_in(tmp_path) == {".weights.onnx.part"}
    (path,), _ = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert address.ranges[3:] == ["bytes=300000-"]


async def test_a_complete_part_needs_no_more_bytes(serve: Serve, tmp_path: Path) -> None:
    address = await serve(whole)
    (tmp_path / ".weights.onnx.part").write_bytes(CONTENT)
    (path,), _ = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert address.ranges == [f"bytes={len(CONTENT)}-"]


async def test_a_server_that_does_not_resume_gives_the_whole_file_again(
    serve: Serve, tmp_path: Path
) -> None:
    async def always_whole(_: web.Request) -> web.StreamResponse:
        return web.Response(body=CONTENT)

    address = await serve(always_whole)
    (tmp_path / ".weights.onnx.part").write_bytes(CONTENT[:1000])
    (path,), _ = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
async def test_a_wrong_part_on_disk_is_thrown_away_and_the_file_fetched_anew(
    serve: Serve, tmp_path: Path, size: int
) -> None:
    address = await serve(whole)
    (tmp_path / ".weights.onnx.part").write_bytes(b"\xff" * size)
    (path,), _ = await fetched([item(address.url)], tmp_path)
    assert path.read_bytes() == CONTENT
    assert address.ranges == [f"bytes={size}-", None]


def giving(content: bytes, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=content)

    return answer


async def test_a_corrupted_file_is_refused_once_and_not_kept(serve: Serve, tmp_path: Path) -> None:
    address = await serve(giving(b"\xff" + CONTENT[1:]))
    with pytest.raises(ModelError, match="wrong digest, expected SHA-256") as failure:
        await fetched([item(address.url)], tmp_path)
    assert address.url in str(failure.value)
    assert str(failure.value).endswith(MEND)
    assert len(address.ranges) == 1
    assert left_in(tmp_path) == set()


async def test_a_page_of_html_instead_of_the_file_is_refused(serve: Serve, tmp_path: Path) -> None:
    address = await serve(giving(b"<html>log in first</html>"))
    with pytest.raises(ModelError, match="wrong digest"):
        await fetched([item(address.url)], tmp_path)
    assert left_in(tmp_path) == set()


async def test_more_bytes_than_there_should_be_are_not_written(
    serve: Serve, tmp_path: Path
) -> None:
    address = await serve(giving(CONTENT + b"x"))
    with pytest.raises(ModelError, match="gives more than the 1048576 bytes it should have"):
        await fetched([item(address.url)], tmp_path)
    part = tmp_path / ".weights.onnx.part"
    assert part.stat().st_size == 0


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_an_error_of_the_server_is_told_with_the_address(
    serve: Serve, tmp_path: Path, status: int
) -> None:
    address = await serve(giving(b"no", status))
    with pytest.raises(ModelError, match=f"{status}") as failure:
        await fetched([item(address.url)], tmp_path)
    assert address.url in str(failure.value)


async def test_a_closed_port_is_told_with_the_file_the_address_and_the_mend(
    serve: Serve, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:1/weights.onnx"
    with pytest.raises(ModelError, match=r"weights\.onnx: cannot be fetched: http") as failure:
        await fetched([item(url)], tmp_path)
    assert url in str(failure.value)
    assert str(failure.value).endswith(MEND)


async def test_a_silent_server_is_given_up(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(CONTENT[:10])
        await request.content.read()
        assert request.transport is not None
        while not request.transport.is_closing():  # noqa: ASYNC110  # the client hangs up some time
            await asyncio.sleep(0.02)
        return response

    monkeypatch.setattr("export.fetch.TIMEOUT", aiohttp.ClientTimeout(sock_read=0.3))
    address = await serve(silent)
    with pytest.raises(ModelError, match="cannot be fetched"):
        await fetched([item(address.url)], tmp_path)
    assert len(address.ranges) == transfer.ATTEMPTS


async def test_a_source_without_a_verified_digest_is_never_contacted(
    serve: Serve, tmp_path: Path
) -> None:
    address = await serve(whole)
    unverified = Source(url=address.url, note="nobody has checked it")
    thing = item().model_copy(update={"sources": (unverified,)})
    with pytest.raises(ModelError, match=r"has no verified digest \(nobody has checked it\)"):
        await fetched([thing], tmp_path)
    assert address.ranges == []


async def test_a_file_without_any_address_is_told_with_its_origin(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no public address .* https://example\.org/weights"):
        await fetched([item()], tmp_path)


async def test_the_next_source_is_asked_when_the_first_fails(serve: Serve, tmp_path: Path) -> None:
    broken, good = await serve(giving(b"no", 404)), await serve(whole)
    first, second = item(broken.url), item(good.url)
    thing = first.model_copy(update={"sources": (*first.sources, *second.sources)})
    (path,), _ = await fetched([thing], tmp_path)
    assert path.read_bytes() == CONTENT


async def test_a_file_of_unknown_size_is_fetched_too(serve: Serve, tmp_path: Path) -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(CONTENT)
        return response

    address = await serve(chunked)
    (path,), _ = await fetched([item(address.url, sized=False)], tmp_path)
    assert path.read_bytes() == CONTENT

"""Asking a running process over HTTP how it is, as `fess status` does."""

import pytest
from aiohttp import web

from orchestrator.camera import CameraState
from orchestrator.cli.table import fetch_status
from orchestrator.errors import FessError, SettingsError
from orchestrator.ledger import CameraLedger
from orchestrator.telemetry import scrub
from tests.http.conftest import OpenSite
from tests.http.footage import camera, mark, view
from tests.test_board import face


async def test_another_process_says_what_its_board_holds(open_site: OpenSite) -> None:
    site = await open_site("correct-horse-battery-staple")
    site.board.add_camera(camera(), CameraLedger())
    site.board.set_state("door", CameraState.ONLINE, "")
    site.board.show("door", view(mark("Anna", "known")))
    site.board.record_event(face("Anna"))
    found = await fetch_status(site.origin + "/", "correct-horse-battery-staple")
    (shown,), (there,) = found.cameras, site.board.cameras()
    assert (shown.camera_id, shown.names, shown.since) == ("door", ("Anna",), there.since)
    assert shown.coverage == there.coverage
    assert found.health.status == "healthy"
    assert found.events == (face("Anna"),)


async def test_a_wrong_token_is_named_with_its_mend(open_site: OpenSite) -> None:
    site = await open_site("correct-horse-battery-staple")
    with pytest.raises(SettingsError, match="set HTTP_TOKEN") as refused:
        await fetch_status(site.origin, "wrong")
    assert scrub(str(refused.value)) == str(refused.value)  # or its mend would not be printed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not an address", "ftp://127.0.0.1"])
async def test_where_nothing_answers_it_asks_whether_anything_runs(url: str) -> None:
    with pytest.raises(FessError, match="is `fess run` running"):
        await fetch_status(url, None)


async def test_another_program_at_the_address_is_told_apart(unused_tcp_port: int) -> None:
    async def anything(_request: web.Request) -> web.Response:
        return web.json_response({"hello": "world"})

    app = web.Application()
    app.router.add_get("/{path:.*}", anything)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        with pytest.raises(FessError, match="another program"):
            await fetch_status(f"http://127.0.0.1:{unused_tcp_port}", None)
    finally:
        await runner.cleanup()

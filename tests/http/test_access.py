"""Access: who is let in, what a browser is told, and what is never written down."""

import logging

import pytest
from pydantic import SecretStr

from orchestrator.access import OPEN, Access
from orchestrator.errors import SettingsError
from orchestrator.ledger import CameraLedger
from orchestrator.settings import HttpSettings
from tests.http.conftest import OpenSite, Site
from tests.http.footage import camera, view

TOKEN = "correct-horse-battery-staple"
GUARDED = (
    "/",
    "/page/page.js",
    "/api/cameras",
    "/api/events",
    "/cameras/door/snapshot.jpg",
    "/cameras/door/stream.mjpg",
    "/nothing",
)


async def statuses(site: Site, headers: dict[str, str] | None = None) -> dict[str, int]:
    found = {}
    for path in GUARDED:
        async with site.get(path, headers=headers, allow_redirects=False) as response:
            found[path] = response.status
    return found


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.5", "camera-box.example"])
@pytest.mark.parametrize("token", [None, "", "opensesame"])
def test_other_machines_are_not_let_in_without_a_real_token(host: str, token: str | None) -> None:
    settings = HttpSettings(host=host, token=SecretStr(token) if token is not None else None)
    with pytest.raises(SettingsError, match="HTTP_TOKEN") as refused:
        Access(settings)
    assert "openssl rand -hex 32" in str(refused.value)
    assert "opensesame" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_loopback_needs_no_token(host: str) -> None:
    Access(HttpSettings(host=host))


async def test_everything_but_health_and_metrics_asks_for_the_token(open_site: OpenSite) -> None:
    site = await open_site(TOKEN)
    site.board.add_camera(camera(), CameraLedger())
    assert set((await statuses(site)).values()) == {401}
    for path in OPEN:
        async with site.get(path) as response:
            assert response.status in (200, 503)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": f"fess={TOKEN}"},
        {"Authorization": "Bearer \udcff\udcfe"},
    ],
)
async def test_a_wrong_token_lets_nobody_in(open_site: OpenSite, headers: dict[str, str]) -> None:
    site = await open_site(TOKEN)
    assert set((await statuses(site, headers)).values()) == {401}


async def test_the_bearer_token_opens_the_api(open_site: OpenSite) -> None:
    site = await open_site(TOKEN)
    async with site.get("/api/cameras", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 200


async def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address(
    open_site: OpenSite,
) -> None:
    site = await open_site(TOKEN)
    async with site.get(f"/?token={TOKEN}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    async with site.get("/api/cameras") as response:
        assert response.status == 200


async def test_a_token_in_the_address_never_leads_to_another_host(open_site: OpenSite) -> None:
    site = await open_site(TOKEN)
    async with site.get(f"//evil.example/?token={TOKEN}", allow_redirects=False) as response:
        assert response.headers.get("Location", "/").startswith("//") is False


async def test_the_token_is_never_logged(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await open_site(TOKEN)
    with caplog.at_level(logging.DEBUG):
        for path in (f"/?token={TOKEN}", f"/api/cameras?token={TOKEN}&x=1", "/?token=nearly"):
            async with site.get(path):
                pass
    assert "/api/cameras" in caplog.text
    assert TOKEN not in caplog.text
    assert "nearly" not in caplog.text


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "10.0.0.1", ""])
async def test_a_foreign_name_for_loopback_is_refused(site: Site, name: str) -> None:
    async with site.get("/api/cameras", headers={"Host": name}) as response:
        assert response.status == 421
        assert "HTTP_TOKEN" in await response.text()


@pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1", "[::1]:8080", "fess.localhost"])
async def test_loopback_goes_by_all_its_names(site: Site, name: str) -> None:
    async with site.get("/api/cameras", headers={"Host": name}) as response:
        assert response.status == 200


async def test_behind_a_token_any_name_is_served(open_site: OpenSite) -> None:
    site = await open_site(TOKEN)
    headers = {"Host": "cameras.example", "Authorization": f"Bearer {TOKEN}"}
    async with site.get("/api/cameras", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/cameras", "/cameras/door/snapshot.jpg"])
async def test_every_answer_tells_the_browser_to_be_strict(site: Site, path: str) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view())
    async with site.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_pictures_and_statuses_are_not_stored(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view())
    for path in ("/cameras/door/snapshot.jpg", "/api/cameras", "/api/events"):
        async with site.get(path) as response:
            assert response.headers["Cache-Control"] == "no-store"

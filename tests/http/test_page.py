"""The page, in a real browser: pictures that move, people and events in words, and nothing it complains about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from alerting.rules import AlertConfig, AlertRules
from orchestrator.camera import CameraState
from orchestrator.ledger import CameraLedger, Skip
from tests.http.browser import Page, chromium
from tests.http.conftest import OpenSite, Site
from tests.http.footage import camera, grey, mark, view
from tests.test_board import face, status

pytestmark = [pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]

# The mean brightness of each picture as it is shown now; -1 for one that shows nothing.
BRIGHTNESS = """
[...document.querySelectorAll(".card img")].map((picture) => {
  if (!picture.naturalWidth) return -1;
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.drawImage(picture, 0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data[0];
})
"""


@asynccontextmanager
async def filmed(site: Site, count: int, *, name: str = "Anna") -> AsyncIterator[None]:
    """Cameras whose pictures grow brighter and darker."""
    ledgers = [CameraLedger() for _ in range(count)]
    for number, ledger in enumerate(ledgers):
        site.board.add_camera(camera(f"cam{number}"), ledger)
        site.board.set_state(f"cam{number}", CameraState.ONLINE, "")

    async def film() -> None:
        turn = 0
        while True:
            turn += 1
            for number, ledger in enumerate(ledgers):
                ledger.decoded()
                ledger.decoded()
                ledger.skipped(Skip.SAMPLING)
                ledger.inspected()
                picture = grey(level=(turn * 7) % 250)
                shown = view(
                    mark(name, "known"), picture=picture, camera_id=f"cam{number}", number=turn
                )
                site.board.show(f"cam{number}", shown)
                site.board.record_latency(f"cam{number}", 0.05)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        filming = tasks.create_task(film())
        try:
            yield
        finally:
            filming.cancel()


async def moving(page: Page, count: int) -> None:
    """Wait until every picture has been seen to change. Raises TimeoutError."""
    await page.until(f"{BRIGHTNESS}.filter((level) => level >= 0).length === {count}")
    before = await page.evaluate(BRIGHTNESS)
    await page.evaluate(f"window.before = {before}")
    await page.until(f"{BRIGHTNESS}.every((level, i) => level !== window.before[i])")


@pytest.mark.parametrize("count", [2, 7])
async def test_every_camera_is_shown_moving_streamed_or_in_stills(
    site: Site, tmp_path: Path, count: int
) -> None:
    async with filmed(site, count), chromium(tmp_path / "profile") as page:
        await page.resize(1600, 2400)
        await page.open(site.origin)
        await moving(page, count)
        assert page.complaints == []


async def test_of_many_cameras_only_those_on_the_screen_are_asked_for(
    site: Site, tmp_path: Path
) -> None:
    async with filmed(site, 12), chromium(tmp_path / "profile") as page:
        await page.resize(800, 500)
        await page.open(site.origin)
        await page.until(f"{BRIGHTNESS}.some((level) => level >= 0)")
        await page.until("document.querySelectorAll('.card').length === 12")
        assert await page.evaluate(f"{BRIGHTNESS}.at(-1)") == -1
        await page.evaluate("document.querySelector('.card:last-child').scrollIntoView()")
        await page.until(f"{BRIGHTNESS}.at(-1) >= 0")


async def test_people_rates_ledger_health_and_events_are_shown_in_words(
    site: Site, tmp_path: Path
) -> None:
    site.board.record_event(status("offline", "no answer"))
    site.board.record_event(face("Anna"))
    async with filmed(site, 1), chromium(tmp_path / "profile") as page:
        await page.open(site.origin)
        await page.until("document.querySelector('.names')?.innerText === 'Anna'")
        await page.until("document.querySelector('#status').innerText === 'healthy'")
        await page.until("parseFloat(document.querySelector('.fps').innerText) > 0")
        text = str(await page.evaluate("document.body.innerText"))
        assert "Recognised Anna (0.71)" in text
        assert "Camera offline: no answer" in text
        assert "sampling 50 %" in text
        assert "1 of 1 camera online, 1 person in view" in text
        assert "geheim" not in text
        assert page.complaints == []


async def test_a_name_that_looks_like_markup_stays_a_name(site: Site, tmp_path: Path) -> None:
    evil = "<img src=x onerror=document.title='taken'>"
    site.board.record_event(face(evil))
    async with filmed(site, 1, name=evil), chromium(tmp_path / "profile") as page:
        await page.open(site.origin)
        await page.until(f'document.querySelector(".names")?.innerText === "{evil}"')
        assert (
            await page.evaluate("document.querySelectorAll('.names img, .words img').length") == 0
        )
        assert "taken" not in str(await page.evaluate("document.title"))


async def test_a_camera_that_goes_is_said_to_be_offline_and_one_removed_disappears(
    site: Site, tmp_path: Path
) -> None:
    async with filmed(site, 2), chromium(tmp_path / "profile") as page:
        await page.open(site.origin)
        await page.until("document.querySelectorAll('.card.online').length === 2")
        site.board.set_state("cam0", CameraState.OFFLINE, "no packet for 5 s")
        site.board.remove_camera("cam1")
        await page.until("document.querySelectorAll('.card').length === 1")
        words = str(await page.evaluate("document.querySelector('.card.offline .veil').innerText"))
        assert words.startswith("Offline for")
        assert words.endswith("no packet for 5 s")


async def test_what_is_lost_is_listed_once_and_what_does_not_move_has_no_rate(
    site: Site, tmp_path: Path
) -> None:
    lost = status("offline", "no answer")
    (alert,) = AlertRules(AlertConfig()).consider(lost)
    for event in (lost, alert):
        site.board.record_event(event)
    async with filmed(site, 3), chromium(tmp_path / "profile") as page:
        site.board.set_state("cam0", CameraState.OFFLINE, "gone away")
        site.board.set_state("cam1", CameraState.ENDED, "the file has ended")
        await page.open(site.origin)
        await page.until(
            "parseFloat(document.querySelector('.card:last-child .fps')?.innerText) > 0"
        )
        rates = "[...document.querySelectorAll('.fps')].map((rate) => rate.innerText)"
        assert await page.evaluate(f"{rates}.slice(0, 2)") == ["\N{EN DASH}"] * 2
        await page.until("document.querySelectorAll('#events li').length > 0")
        text = str(await page.evaluate("document.body.innerText"))
        assert text.count("no answer") == 1
        assert "1 of 2 cameras online, 1 ended" in text


async def test_the_close_up_shows_a_picture_that_moves_and_leaves_the_others(
    site: Site, tmp_path: Path
) -> None:
    async with filmed(site, 2), chromium(tmp_path / "profile") as page:
        await page.open(site.origin)
        await moving(page, 2)
        await page.evaluate("document.querySelector('.picture').click()")
        await page.until("document.querySelector('#close-up img').naturalWidth > 0")
        await page.evaluate("document.querySelector('#close-up').close()")
        await moving(page, 2)


async def test_the_page_says_when_the_process_is_gone(open_site: OpenSite, tmp_path: Path) -> None:
    site = await open_site()
    async with filmed(site, 1), chromium(tmp_path / "profile") as page:
        await page.open(site.origin)
        await moving(page, 1)
        await page.until("document.querySelector('#status').innerText === 'healthy'")
        await site.server.__aexit__(None, None, None)
        await page.until("!document.querySelector('#lost').hidden")
        assert await page.evaluate("document.querySelector('#status').innerText") == "no answer"
        assert await page.evaluate("document.title") == "FESS · no answer"
        badge = "getComputedStyle(document.querySelector('.badge')).visibility"
        assert await page.evaluate(badge) == "hidden"  # nothing is live


async def test_behind_a_token_the_page_opens_with_it_and_keeps_it_out_of_sight(
    open_site: OpenSite, tmp_path: Path
) -> None:
    token = "correct-horse-battery-staple"
    site = await open_site(token)
    async with filmed(site, 1), chromium(tmp_path / "profile") as page:
        await page.open(f"{site.origin}/?token={token}")
        await moving(page, 1)
        assert token not in str(await page.evaluate("location.href + document.cookie"))

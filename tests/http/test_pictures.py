"""Pictures over HTTP: snapshots and live streams, encoded once a view and only when somebody watches."""

import asyncio
import io
from contextlib import AsyncExitStack

import aiohttp
import numpy as np
from PIL import Image

from orchestrator.http import BOUNDARY, WATCHERS_MOST
from orchestrator.ledger import CameraLedger
from tests.http.conftest import OpenSite, Site
from tests.http.footage import camera, grey, mark, view, views


async def next_part(response: aiohttp.ClientResponse) -> Image.Image:
    """Read one picture of a multipart stream, up to where the next begins."""
    part = await response.content.readuntil(f"\r\n--{BOUNDARY}\r\n".encode())
    return Image.open(io.BytesIO(part[part.index(b"\xff\xd8") :]))


async def test_a_snapshot_shows_the_newest_view_with_its_boxes(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    for shown in views(3, [mark("Anna", "known")]):
        site.board.show("door", shown)
    async with site.get("/cameras/door/snapshot.jpg") as response:
        assert response.content_type == "image/jpeg"
        picture = Image.open(io.BytesIO(await response.read()))
    assert picture.size == (640, 360)
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 10


async def test_a_plain_snapshot_is_the_frame_with_nothing_drawn_in_its_own_size(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view(mark(), picture=grey(1920, 1080, level=77)))
    async with site.get("/cameras/door/snapshot.jpg?plain=1") as response:
        picture = Image.open(io.BytesIO(await response.read()))
    assert picture.size == (1920, 1080)
    assert np.asarray(picture).std() < 1.0


async def test_before_the_first_view_a_snapshot_says_to_come_back(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    async with site.get("/cameras/door/snapshot.jpg") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


async def test_nothing_is_encoded_when_nobody_watches(site: Site) -> None:
    picture = grey()
    site.board.add_camera(camera(), CameraLedger())
    for number in range(50):
        site.board.show("door", view(mark(), picture=picture, number=number))
        await asyncio.sleep(0)
    async with site.get("/api/cameras") as response:
        assert response.status == 200
    assert picture.converted == 0


async def test_one_view_is_encoded_once_however_many_ask_for_it(site: Site) -> None:
    picture = grey()
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view(mark(), picture=picture))

    async def ask() -> bytes:
        async with site.get("/cameras/door/snapshot.jpg") as response:
            return await response.read()

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask()) for _ in range(8)]
    assert len({task.result() for task in asked}) == 1
    assert picture.converted == 1


async def test_a_stream_sends_a_part_for_each_new_view(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    async with site.get("/cameras/door/stream.mjpg") as response:
        assert response.content_type == "multipart/x-mixed-replace"
        levels = []
        for shown in views(3):
            site.board.show("door", shown)
            part = await next_part(response)
            levels.append(round(float(np.asarray(part)[10:100].mean())))
    assert levels == [40, 80, 120]


async def test_a_stream_begins_with_the_view_that_is_there(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view())
    async with site.get("/cameras/door/stream.mjpg") as response:
        assert (await next_part(response)).size == (640, 360)


async def test_a_stream_passes_over_views_that_came_quicker_than_it_could_send(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    async with site.get("/cameras/door/stream.mjpg") as response:
        for shown in views(5):
            site.board.show("door", shown)
        part = await next_part(response)
    assert round(float(np.asarray(part)[10:100].mean())) == 200


async def test_a_stream_ends_when_its_camera_is_removed(site: Site) -> None:
    site.board.add_camera(camera(), CameraLedger())
    site.board.show("door", view())
    async with site.get("/cameras/door/stream.mjpg") as response:
        await next_part(response)
        site.board.remove_camera("door")
        rest = await asyncio.wait_for(response.content.read(), 10)
    assert b"\xff\xd8" not in rest


async def test_the_number_of_watchers_is_bounded_and_those_who_leave_make_room(
    site: Site,
) -> None:
    site.board.add_camera(camera(), CameraLedger())
    async with AsyncExitStack() as stack:
        for _ in range(WATCHERS_MOST):
            response = await stack.enter_async_context(site.get("/cameras/door/stream.mjpg"))
            assert response.status == 200
        async with site.get("/cameras/door/stream.mjpg") as response:
            assert response.status == 503
    async with asyncio.timeout(20):
        while True:
            async with site.get("/cameras/door/stream.mjpg") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.05)


async def test_open_streams_do_not_hold_up_the_end(open_site: OpenSite) -> None:
    site = await open_site()
    site.board.add_camera(camera(), CameraLedger())
    async with site.get("/cameras/door/stream.mjpg"):
        async with asyncio.timeout(10):
            await site.server.__aexit__(None, None, None)

"""The fleet: a task a camera, started, changed and stopped as the list says, each on its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from orchestrator.camera import Camera
from orchestrator.errors import SettingsError
from orchestrator.fleet import Fleet
from orchestrator.metrics import Metrics

Watch = Callable[[Camera], Awaitable[None]]


def camera(name: str, url: str = "x.mp4", *, enabled: bool = True) -> Camera:
    return Camera(camera_id=name, url=SecretStr(url), enabled=enabled)


class Site:
    """A fleet whose lists a test gives, and whose watching it sees."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.registry = CollectorRegistry()
        self.running: dict[str, Camera] = {}
        self.starts: list[str] = []
        self.slept: list[float] = []
        self._own = watch
        self._lists: asyncio.Queue[tuple[Camera, ...] | None] = asyncio.Queue(maxsize=8)
        self._taken = asyncio.Event()
        self.fleet = Fleet(self._watch, metrics=Metrics(self.registry), sleep=self._sleep)

    async def lists(self) -> AsyncIterator[tuple[Camera, ...]]:
        while True:
            self._taken.set()
            cameras = await self._lists.get()
            if cameras is None:
                return
            yield cameras

    async def give(self, *cameras: Camera) -> None:
        """Give a list, and wait until the fleet has taken it up."""
        self._taken.clear()
        await self._lists.put(cameras)
        await self._taken.wait()
        await asyncio.sleep(0)

    async def end(self) -> None:
        await self._lists.put(None)

    async def _watch(self, camera: Camera) -> None:
        self.running[camera.camera_id] = camera
        self.starts.append(camera.camera_id)
        try:
            if self._own is not None:
                await self._own(camera)
            else:
                await asyncio.Event().wait()
        finally:
            del self.running[camera.camera_id]

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def test_every_enabled_camera_is_watched() -> None:
    site = Site()
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("lobby"), camera("gate"), camera("attic", enabled=False))
        assert set(site.running) == {"lobby", "gate"}
        fleet.cancel()
    assert not site.running


async def test_a_new_list_touches_only_what_differs() -> None:
    site = Site()
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("stays"), camera("moves", "old.mp4"), camera("goes"))
        await site.give(camera("stays"), camera("moves", "new.mp4"), camera("comes"))
        assert site.running == {
            "stays": camera("stays"),
            "moves": camera("moves", "new.mp4"),
            "comes": camera("comes"),
        }
        assert site.starts == ["stays", "moves", "goes", "moves", "comes"]
        fleet.cancel()


async def test_the_former_watcher_of_a_changed_camera_is_gone_before_the_new_one_starts() -> None:
    order: list[str] = []

    async def slow_to_leave(camera: Camera) -> None:
        order.append(f"open {camera.address}")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            order.append(f"close {camera.address}")

    site = Site(slow_to_leave)
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("door", "old.mp4"))
        await site.give(camera("door", "new.mp4"))
        assert order == ["open old.mp4", "close old.mp4", "open new.mp4"]
        fleet.cancel()


async def test_a_bug_in_one_camera_is_counted_and_told_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    falls = iter([ZeroDivisionError("a bug"), ExceptionGroup("bugs", [ValueError("two")])])
    recovered = asyncio.Event()

    async def stumble(camera: Camera) -> None:
        if camera.camera_id == "bad" and (fall := next(falls, None)):
            raise fall
        if camera.camera_id == "bad":
            recovered.set()
        await asyncio.Event().wait()

    site = Site(stumble)
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        with caplog.at_level(logging.ERROR):
            await site.give(camera("good"), camera("bad"))
            await recovered.wait()
        assert site.starts.count("good") == 1
        assert set(site.running) == {"good", "bad"}
        fleet.cancel()
    assert "ZeroDivisionError" in caplog.text
    assert len(site.slept) == 2
    assert all(pause_s > 0 for pause_s in site.slept)
    for bug in ("ZeroDivisionError", "ExceptionGroup"):
        labels = {"camera_id": "bad", "error": bug}
        assert site.registry.get_sample_value("fess_camera_losses_total", labels) == 1


async def test_a_camera_that_was_removed_stays_away_even_if_its_path_fails_on_the_way_out() -> None:
    async def fail_on_leaving(_camera: Camera) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("a bug in the clean-up")

    site = Site(fail_on_leaving)
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("door"), camera("gate"))
        async with asyncio.timeout(5):
            await site.give(camera("gate"))
        assert set(site.running) == {"gate"}
        await asyncio.sleep(0.01)
        assert site.starts == ["door", "gate"]
        fleet.cancel()


async def test_it_ends_when_no_list_follows_and_every_file_has_ended() -> None:
    async def end_at_once(_camera: Camera) -> None:
        return

    site = Site(end_at_once)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("short"), camera("shorter"))
        await site.end()
    assert site.starts == ["short", "shorter"]


async def test_a_file_that_has_ended_is_not_played_again_because_another_camera_changed() -> None:
    async def end_if_short(camera: Camera) -> None:
        if camera.camera_id != "short":
            await asyncio.Event().wait()

    site = Site(end_if_short)
    async with asyncio.TaskGroup() as tasks:
        fleet = tasks.create_task(site.fleet.run(site.lists()))
        await site.give(camera("short"))
        await site.give(camera("short"), camera("long"))
        assert site.starts == ["short", "long"]
        fleet.cancel()


async def test_a_list_that_cannot_be_read_at_the_start_ends_it() -> None:
    async def unreadable() -> AsyncIterator[tuple[Camera, ...]]:
        raise SettingsError("cameras.yaml: no such file")
        yield ()

    with pytest.raises(ExceptionGroup) as ended:
        await Site().fleet.run(unreadable())
    assert ended.group_contains(SettingsError)

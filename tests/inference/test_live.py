"""A model that is swapped while it is asked: read again once for all, and asked again; no answer is mistaken."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.app import make_triton_client
from orchestrator.detection import Detections
from orchestrator.errors import InferenceInvalid, InferenceOutdated, SettingsError
from orchestrator.inference.models import Models, load_models
from orchestrator.inference.pixels import rgb
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture
from orchestrator.settings import DetectorSettings, FacesSettings, Settings, TritonSettings
from tests.servers.impostor import Impostor, impostor

PICTURE = ArrayPicture(np.zeros((240, 320, 3), np.uint8))
PATIENCE_S = 30.0


@pytest.fixture
async def server() -> AsyncIterator[Impostor]:
    async with impostor() as server:
        yield server


@asynccontextmanager
async def models_of(
    server: Impostor, *classes: str, follow: bool = True, timeout_s: float = PATIENCE_S
) -> AsyncIterator[Models]:
    settings = Settings(
        triton=TritonSettings(url=server.url, timeout=timeout_s),
        faces=FacesSettings(enabled=False),
        detector=DetectorSettings(classes=classes),
    )
    client = make_triton_client(settings, Metrics(CollectorRegistry()))
    try:
        yield await load_models(client, settings, follow=follow)
    finally:
        await client.close()


async def detect(models: Models) -> Detections:
    return await models.detector.detect(PICTURE, deadline_s=time.monotonic() + PATIENCE_S)


def swap(server: Impostor, labels: str = "person,car", size: int = 320) -> None:
    server.version, server.labels, server.size = str(int(server.version) + 1), labels, size


def whose(found: Detections) -> tuple[str, tuple[str, ...]]:
    assert found.model is not None
    return found.model.version.version, found.model.labels


async def test_cameras_that_ask_at_once_share_one_reading_of_the_new_version(
    server: Impostor,
) -> None:
    async with models_of(server) as models:
        swap(server, "guest")
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(detect(models)) for _ in range(40)]
    assert {whose(task.result()) for task in asked} == {("2", ("guest",))}
    assert server.described == 2


async def test_a_reading_that_is_given_up_is_taken_over_by_the_next(server: Impostor) -> None:
    async with models_of(server) as models:
        swap(server)
        server.describing_s = 0.5
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(detect(models))
            await until(lambda: server.described == 2)
            second = tasks.create_task(detect(models))
            first.cancel()
    assert first.cancelled()
    assert whose(second.result())[0] == "2"


async def test_the_answer_of_another_version_is_not_taken_for_the_one_that_was_asked(
    server: Impostor,
) -> None:
    server.heeds_version = False
    async with models_of(server) as models:
        swap(server, "guest")
        assert whose(await detect(models)) == ("2", ("guest",))


async def test_a_request_that_has_the_wrong_size_by_now_is_made_anew(server: Impostor) -> None:
    server.heeds_version = False
    async with models_of(server) as models:
        before = (await detect(models)).xyxy
        swap(server, size=640)
        found = await detect(models)
    assert whose(found)[0] == "2"
    assert found.xyxy.tolist() == (before / 2).tolist()


async def test_what_the_server_refuses_although_nothing_changed_is_an_error(
    server: Impostor,
) -> None:
    async with models_of(server) as models:
        server.version = "9"
        await detect(models)
        models.detector.live.adapter._pixels = partial(rgb, size=64)
        with pytest.raises(InferenceInvalid, match="unexpected shape"):
            await detect(models)


async def test_where_all_must_be_of_one_version_a_swap_is_told(server: Impostor) -> None:
    async with models_of(server, follow=False) as models:
        swap(server)
        with pytest.raises(InferenceOutdated, match="run this again"):
            await detect(models)


async def test_at_the_start_a_class_that_is_not_there_is_a_mistake(server: Impostor) -> None:
    with pytest.raises(SettingsError, match="giraffe"):
        async with models_of(server, "person", "giraffe"):
            pass


async def test_classes_that_the_new_version_has_go_on_and_the_others_are_told(
    server: Impostor,
) -> None:
    async with models_of(server, "person", "car") as models:
        swap(server, "truck,person")
        server.answer = dict(server.answer) | {"labels": np.ones((1, 100), np.int32)}
        assert (await detect(models)).class_id.tolist() == [1]
        with pytest.raises(InferenceInvalid, match="has no car; only person is looked for"):
            await models.check()


async def test_a_version_with_none_of_the_wanted_classes_is_an_error_until_it_goes(
    server: Impostor,
) -> None:
    async with models_of(server, "person") as models, following(models):
        swap(server, "truck,train")
        with pytest.raises(InferenceInvalid, match=r"person is not a label .*rollback"):
            await detect(models)
        with pytest.raises(InferenceInvalid, match="version 2 cannot be used"):
            await models.check()
        swap(server)
        await until(lambda: models.detector.live.problem is None)
        assert whose(await detect(models))[0] == "3"
        assert await models.check() == 0.0


async def test_a_swap_that_nobody_asks_about_is_noticed_all_the_same(server: Impostor) -> None:
    async with models_of(server) as models, following(models):
        swap(server, "guest")
        await until(lambda: models.labels == ("guest",))
    assert server.requests == 0


@asynccontextmanager
async def following(models: Models) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(models.follow(every_s=0.01))
        yield
        task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)

"""A request to Triton has a deadline, its answer is checked, and every failure has a name and a count."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from orchestrator.errors import (
    InferenceInvalid,
    InferenceStale,
    InferenceUnavailable,
    SettingsError,
)
from orchestrator.inference.breaker import Breaker
from orchestrator.inference.object_detector import (
    DetectionLimits,
    TritonObjectDetector,
    class_ids,
)
from orchestrator.inference.triton import TritonClient
from orchestrator.metrics import Metrics
from orchestrator.picture import ArrayPicture
from tests.servers.impostor import Impostor, impostor, one_box

PICTURE = ArrayPicture(np.zeros((480, 640, 3), np.uint8))


class Bench:
    """A detector that asks an impostor."""

    def __init__(
        self, server: Impostor, client: TritonClient, detector: TritonObjectDetector
    ) -> None:
        self.server = server
        self.client = client
        self.detector = detector
        self.registry = CollectorRegistry()

    async def detect(self, within_s: float = 5.0) -> Any:
        return await self.detector.detect(PICTURE, deadline_s=time.monotonic() + within_s)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    breaker = Breaker(3, 30.0, on_change=lambda is_open: metrics.breaker_open.set(is_open))
    async with impostor() as server:
        client = TritonClient(
            server.url, timeout_s=5.0, max_in_flight=2, breaker=breaker, metrics=metrics
        )
        model = await client.describe("object_detector")
        detector = TritonObjectDetector(client, model, DetectionLimits(0.5, 0.45, ()))
        bench = Bench(server, client, detector)
        bench.registry = registry
        yield bench
        await client.close()


def asking(
    server: Impostor, *, timeout_s: float, max_in_flight: int, patient: bool = False
) -> TritonClient:
    """Another client of that server, with a breaker of its own."""
    return TritonClient(
        server.url,
        timeout_s=timeout_s,
        max_in_flight=max_in_flight,
        breaker=Breaker(5, 1.0, on_change=lambda is_open: None),
        metrics=Metrics(CollectorRegistry()),
        patient=patient,
    )


def failures(bench: Bench, cause: str) -> float | None:
    return bench.registry.get_sample_value(
        "fess_inference_failures_total", {"model": "object_detector", "cause": cause}
    )


async def test_boxes_come_back_in_source_pixels(bench: Bench) -> None:
    found = await bench.detect()
    assert found.xyxy.tolist() == [[64, 128, 192, 320]]
    assert found.class_id.tolist() == [0]


async def test_the_model_says_who_it_is(bench: Bench) -> None:
    assert bench.detector.labels == ("person", "car")
    assert bench.detector.model.sha256 == "a1" * 32


async def test_rows_below_the_threshold_are_left_out(bench: Bench) -> None:
    bench.server.answer = one_box() | {"scores": np.full((1, 100), 0.3, np.float32)}
    assert len(await bench.detect()) == 0


async def test_a_class_that_the_model_does_not_know_is_named_with_those_it_does(
    bench: Bench,
) -> None:
    model = await bench.client.describe("object_detector")
    assert class_ids(model, ("car",)) == (1,)
    with pytest.raises(SettingsError, match=r"giraffe is not a label .* person, car"):
        class_ids(model, ("giraffe",))


def with_nan() -> dict[str, NDArray[Any]]:
    return one_box() | {"boxes": np.full((1, 100, 4), np.nan, np.float32)}


WRONG = {
    "NaN": with_nan(),
    "ten thousand boxes": one_box() | {"boxes": np.zeros((1, 10_000, 4), np.float32)},
    "a count beyond the rows": one_box() | {"count": np.full((1, 1), 10_000, np.int32)},
    "a negative count": one_box() | {"count": np.full((1, 1), -1, np.int32)},
    "another type": one_box() | {"scores": np.zeros((1, 100), np.int32)},
    "a missing output": {"count": np.ones((1, 1), np.int32)},
    "another batch size": {name: np.repeat(array, 2, axis=0) for name, array in one_box().items()},
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
async def test_an_impossible_answer_is_refused_and_counted(
    bench: Bench, answer: dict[str, NDArray[Any]]
) -> None:
    bench.server.answer = answer
    with pytest.raises(InferenceInvalid, match="object_detector"):
        await bench.detect()
    assert (await bench.client.check()) >= 0


async def test_an_answer_to_another_request_is_never_applied(bench: Bench) -> None:
    bench.server.wrong_id = True
    with pytest.raises(InferenceInvalid, match="another request"):
        await bench.detect()
    assert failures(bench, "invalid") == 1


async def test_a_late_answer_is_given_up_at_the_deadline(bench: Bench) -> None:
    bench.server.delay_s = 30.0
    began_s = time.monotonic()
    with pytest.raises(InferenceStale, match="in time"):
        await bench.detect(within_s=0.2)
    assert time.monotonic() - began_s < 3
    assert failures(bench, "stale") == 1


async def test_a_frame_that_is_already_too_old_is_not_sent(bench: Bench) -> None:
    with pytest.raises(InferenceStale, match="too old"):
        await bench.detect(within_s=-1)
    assert bench.server.requests == 0


async def test_no_more_requests_are_on_their_way_than_allowed(bench: Bench) -> None:
    bench.server.delay_s = 0.5
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(bench.detect()) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(InferenceStale, match="already on their way"):
            await bench.detect(within_s=0.1)
    assert [len(task.result()) for task in first] == [1, 1]
    assert bench.server.requests == 2


async def test_what_cannot_be_answered_in_time_any_more_is_not_sent(bench: Bench) -> None:
    bench.server.delay_s = 0.3
    await bench.detect()
    with pytest.raises(InferenceStale, match="too old"):
        await bench.detect(within_s=0.1)
    assert bench.server.requests == 1


async def test_a_request_that_the_server_refuses_as_late_says_nothing_against_the_server(
    bench: Bench,
) -> None:
    bench.server.refuse = (grpc.StatusCode.UNAVAILABLE, "Request timeout expired")
    for _ in range(5):
        with pytest.raises(InferenceStale, match="refused"):
            await bench.detect()
    bench.server.refuse = None
    assert len(await bench.detect()) == 1


async def test_a_patient_client_asks_again_until_its_request_is_taken(bench: Bench) -> None:
    client = asking(bench.server, timeout_s=10.0, max_in_flight=2, patient=True)
    model = await client.describe("object_detector")
    bench.server.refuse = (grpc.StatusCode.UNAVAILABLE, "Request timeout expired")
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(
            client.infer(
                model,
                np.zeros((1, 320, 320, 3), np.uint8),
                ("count",),
                deadline_s=time.monotonic() + 10,
            )
        )
        await asyncio.sleep(0.3)
        bench.server.refuse = None
    assert answer.result()[0].tolist() == [[1]]
    assert bench.server.requests > 1
    await client.close()


async def test_a_server_that_fails_again_and_again_is_left_alone_for_a_while(bench: Bench) -> None:
    bench.server.refuse = (grpc.StatusCode.UNAVAILABLE, "gone")
    for _ in range(3):
        with pytest.raises(InferenceUnavailable, match="gone"):
            await bench.detect()
    with pytest.raises(InferenceUnavailable, match="held back"):
        await bench.detect()
    assert bench.server.requests == 3
    assert bench.registry.get_sample_value("fess_inference_breaker_open") == 1


async def test_a_cancelled_request_frees_its_place_once_it_is_answered(bench: Bench) -> None:
    bench.server.delay_s = 0.5
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(bench.detect()) for _ in range(2)]
        await asyncio.sleep(0.1)
        for task in running:
            task.cancel()
    with pytest.raises(InferenceStale, match="already on their way"):
        await bench.detect(within_s=0.1)
    assert len(await bench.detect()) == 1
    assert bench.server.most_at_once == 2


async def test_a_request_that_is_late_is_not_cancelled_on_the_wire(bench: Bench) -> None:
    """Triton 2.51 dies of cancellations."""
    bench.server.delay_s = 0.5
    with pytest.raises(InferenceStale):
        await bench.detect(within_s=0.2)
    await bench.client.close()  # waits for it
    assert (bench.server.requests, bench.server.at_once, bench.server.cancelled) == (1, 0, 0)


async def test_nor_is_one_that_nobody_waits_for(bench: Bench) -> None:
    bench.server.delay_s = 0.5
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(bench.detect())
        while not bench.server.requests:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        asked.cancel()
    assert bench.server.at_once == 1
    await bench.client.close()
    assert (bench.server.at_once, bench.server.cancelled) == (0, 0)


async def test_what_is_given_up_is_bounded_and_counted(bench: Bench) -> None:
    """It is still worked on: what is sent besides would wait behind it."""
    await bench.detect()
    bench.server.delay_s = 0.5
    for _ in range(2):
        with pytest.raises(InferenceStale):
            await bench.detect(within_s=0.1)
    assert given_up(bench) == 2
    with pytest.raises(InferenceStale, match="already on their way"):
        await bench.detect(within_s=0.1)
    assert bench.server.requests == 3

    assert len(await bench.detect()) == 1
    assert given_up(bench) == 0


def given_up(bench: Bench) -> float | None:
    return bench.registry.get_sample_value("fess_inference_given_up")


async def test_one_that_is_never_answered_does_not_keep_its_place_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.inference.calls.GIVEN_UP_S", 0.3)
    bench.server.delay_s = 30.0
    for _ in range(2):
        with pytest.raises(InferenceStale):
            await bench.detect(within_s=0.1)
    bench.server.delay_s = 0.0
    assert len(await bench.detect()) == 1


async def test_a_server_that_gets_three_times_what_it_can_do_works_for_somebody(
    bench: Bench,
) -> None:
    """What is sent although it cannot be answered in time delays what could have been."""
    bench.server.works_on, bench.server.delay_s = asyncio.Semaphore(1), 0.02
    client = asking(bench.server, timeout_s=1.0, max_in_flight=32)
    model = await client.describe("object_detector")
    answered = 0

    async def ask() -> None:
        nonlocal answered
        pixels = np.zeros((1, 320, 320, 3), np.uint8)
        with suppress(InferenceStale):
            await client.infer(model, pixels, ("count",), deadline_s=time.monotonic() + 0.5)
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(600):
            tasks.create_task(ask())
            await asyncio.sleep(1 / 150)
    await client.close()
    assert bench.server.requests > 60
    assert answered > 0.7 * bench.server.requests


async def test_a_client_that_is_closed_does_not_wait_long_for_what_it_gave_up(bench: Bench) -> None:
    bench.server.delay_s = 30.0
    with pytest.raises(InferenceStale):
        await bench.detect(within_s=0.1)
    async with asyncio.timeout(5.0):
        await bench.client.close()


async def test_a_server_that_is_not_there_is_named_with_its_address() -> None:
    metrics = Metrics(CollectorRegistry())
    breaker = Breaker(3, 1.0, on_change=lambda is_open: None)
    client = TritonClient(
        "127.0.0.1:9", timeout_s=0.5, max_in_flight=2, breaker=breaker, metrics=metrics
    )
    with pytest.raises(InferenceUnavailable, match=r"127\.0\.0\.1:9"):
        await client.check()
    with pytest.raises(InferenceUnavailable, match="check TRITON_URL"):
        await client.describe("object_detector")
    await client.close()

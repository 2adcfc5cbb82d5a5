"""A channel connects when it is asked, again after a loss, and fails quickly and by name where nobody listens."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from orchestrator.inference.channel import Channel, read
from orchestrator.inference.status import CallFailed, Status
from tests.servers.impostor import Impostor, impostor


@pytest.fixture
async def server() -> AsyncIterator[Impostor]:
    async with impostor() as server:
        yield server


@pytest.fixture
async def channel(server: Impostor) -> AsyncIterator[Channel]:
    channel = Channel(server.url)
    yield channel
    await channel.close()


@pytest.fixture
def deaf() -> Iterator[str]:
    """Accepts connections, in the kernel alone, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def ready(channel: Channel, timeout_s: float | None = 5.0) -> bool:
    answer = await channel.ask(
        "ServerReady",
        service_pb2.ServerReadyRequest(),
        service_pb2.ServerReadyResponse,
        timeout_s=timeout_s,
    )
    return bool(answer.ready)


def picture(side: int) -> service_pb2.ModelInferRequest:
    """A request of `side` x `side` pixels, which the impostor looks at."""
    request = service_pb2.ModelInferRequest(model_name="object_detector", id=str(side))
    request.inputs.add(name="images", datatype="UINT8", shape=[1, side, side, 3])
    request.raw_input_contents.append(bytes(side * side * 3))
    return request


async def infer(channel: Channel, request: service_pb2.ModelInferRequest) -> str:
    answer = await channel.ask(
        "ModelInfer", request, service_pb2.ModelInferResponse, timeout_s=20.0
    )
    return str(answer.id)


async def test_it_connects_when_it_is_asked(channel: Channel) -> None:
    assert await ready(channel)


async def test_many_who_ask_at_once_share_one_connection(channel: Channel) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ready(channel)) for _ in range(200)]
    assert all(task.result() for task in asked)
    assert len(channel._all) == 1


@pytest.mark.parametrize("side", [16, 320, 1100])
async def test_messages_of_all_sizes_arrive_whole(
    server: Impostor, channel: Channel, side: int
) -> None:
    """The largest is many times what a server of gRPC grants at first."""
    server.size = side
    seen: list[int] = []

    def decide(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, np.ndarray]:
        seen.append(image.size)
        return {}

    server.decide = decide
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(infer(channel, picture(side))) for _ in range(8)]
    assert [task.result() for task in asked] == [str(side)] * 8
    assert seen == [side * side * 3] * 8


async def test_large_answers_arrive_whole(server: Impostor, channel: Channel) -> None:
    server.answer = {"boxes": np.arange(3_000_000, dtype=np.int32).reshape(1, -1)}
    answer = await channel.ask(
        "ModelInfer", picture(320), service_pb2.ModelInferResponse, timeout_s=20.0
    )
    assert answer.raw_output_contents[0] == server.answer["boxes"].tobytes()


async def test_words_of_a_refusal_come_as_they_were_said(
    server: Impostor, channel: Channel
) -> None:
    server.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "nicht bereit: 100 % „café“\n2")
    with pytest.raises(CallFailed) as failed:
        await infer(channel, picture(320))
    assert failed.value.status is Status.FAILED_PRECONDITION
    assert failed.value.details == "nicht bereit: 100 % „café“\n2"


async def test_a_method_that_is_not_there_is_named_so(channel: Channel) -> None:
    with pytest.raises(CallFailed) as failed:
        await channel.ask(
            "Nonsense", service_pb2.ServerReadyRequest(), service_pb2.ServerReadyResponse
        )
    assert failed.value.status is Status.UNIMPLEMENTED


def test_what_is_no_answer_to_the_question_is_refused() -> None:
    with pytest.raises(CallFailed, match="is no ModelInferResponse"):
        read(service_pb2.ModelInferResponse, b"\xff\xff")


async def test_a_server_that_comes_back_is_found_within_a_second() -> None:
    async with impostor() as server:
        channel = Channel(server.url)
        port = int(server.url.rpartition(":")[2])
        assert await ready(channel)
    refusals = 0
    deadline_s = time.monotonic() + 2.0
    while time.monotonic() < deadline_s:
        with pytest.raises(CallFailed):
            await ready(channel)
        refusals += 1
        await asyncio.sleep(0.02)
    async with impostor(port):
        back_s = time.monotonic()
        while True:
            try:
                assert await ready(channel)
                break
            except CallFailed:
                await asyncio.sleep(0.02)
        assert time.monotonic() - back_s < 1.5
    await channel.close()


async def test_where_nobody_listens_it_is_tried_now_and_then_and_told_at_once_between() -> None:
    clock_s = 0.0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        channel = Channel(f"127.0.0.1:{nobody.getsockname()[1]}", clock=lambda: clock_s)
        tries = 0
        for clock_s in (0.0, 0.05, 0.11, 0.2, 0.32, 0.7, 0.73, 1.5, 1.6, 2.6):  # noqa: B007
            before = channel._not_before_s
            with pytest.raises(CallFailed, match="no connection") as failed:
                await ready(channel)
            assert failed.value.status is Status.UNAVAILABLE
            tries += channel._not_before_s != before
        assert tries == 6  # at 0, 0.11, 0.32, 0.73, 1.6 and 2.6: after 0.1, 0.2, 0.4, 0.8, 1 s
    await channel.close()


async def test_a_server_that_says_nothing_is_given_up_in_time(deaf: str) -> None:
    channel = Channel(deaf)
    began_s = time.monotonic()
    with pytest.raises(CallFailed) as failed:
        await ready(channel, timeout_s=0.2)
    assert failed.value.status is Status.DEADLINE_EXCEEDED
    assert time.monotonic() - began_s < 2.0
    await channel.close()


async def test_who_asks_within_a_limit_waits_no_longer_for_a_connection(deaf: str) -> None:
    channel = Channel(deaf)
    with pytest.raises(CallFailed, match="no connection in time"):
        await channel.call("ServerReady", (b"",), within_s=0.1)
    await channel.close()


async def test_closing_ends_what_is_asked(server: Impostor) -> None:
    server.delay_s = 30.0
    channel = Channel(server.url)
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(asyncio.wait_for(infer_failing(channel), 5.0))
        while not server.requests:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await channel.close()
    assert asked.result() is Status.UNAVAILABLE


async def infer_failing(channel: Channel) -> Status:
    with pytest.raises(CallFailed) as failed:
        await infer(channel, picture(320))
    return failed.value.status


async def test_closing_while_it_connects_ends_that_too(deaf: str) -> None:
    channel = Channel(deaf)
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(asyncio.wait_for(infer_failing(channel), 5.0))
        await asyncio.sleep(0.05)
        await channel.close()
    assert asked.result() is Status.UNAVAILABLE


async def test_hosts_are_found_by_name_and_in_brackets(server: Impostor) -> None:
    port = server.url.rpartition(":")[2]
    channel = Channel(f"localhost:{port}")
    assert await ready(channel)
    await channel.close()
    bracketed = Channel("[::1]:9")
    with pytest.raises(CallFailed, match="no connection"):
        await ready(bracketed)
    await bracketed.close()


async def test_no_proxy_of_the_environment_is_asked(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures go where TRITON_URL says, and nowhere else."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await ready(channel)

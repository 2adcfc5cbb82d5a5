"""Whoever leaves, a call goes on, and its turn and its slot are free again exactly when Triton is done with it."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.inference.calls import Calls
from orchestrator.inference.shared_memory import Slot
from orchestrator.inference.status import CallFailed, Status, head_of
from orchestrator.inference.turns import Turn
from orchestrator.metrics import Metrics
from tests.servers.http2_peer import Peer, ending

HEADERS = head_of("127.0.0.1:8001", "/inference.GRPCInferenceService/ModelInfer")


class Place:
    """A slot that only notes what becomes of it."""

    def __init__(self) -> None:
        self.fate: list[str] = []

    def give_back(self) -> None:
        self.fate.append("given back")

    def lose(self) -> None:
        self.fate.append("lost")


class Told:
    """A turn that only notes what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __getattr__(self, word: str) -> Callable[[], None]:
        return lambda: self.words.append(word)


class Bench:
    """A call that is on its way, and a task that waits for its answer."""

    def __init__(self, left_s: float = 30.0) -> None:
        self.registry = CollectorRegistry()
        self.peer, self.place, self.turn = Peer(), Place(), Told()
        self.calls = Calls(Metrics(self.registry))
        self.call = self.peer.connection.call(HEADERS, (b"?",))
        turn, slot = cast(Turn, self.turn), cast(Slot, self.place)
        waiting = self.calls.answer(self.call, turn, slot, left_s)
        self.waiting = asyncio.get_running_loop().create_task(waiting)

    def held(self) -> float | None:
        return self.registry.get_sample_value("fess_inference_slots_held")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_answer_frees_the_slot() -> None:
    bench = Bench()
    await turns(2)
    bench.peer.answers(bench.call.number, b"!")
    assert await bench.waiting == b"!"
    assert (bench.place.fate, bench.held()) == (["given back"], 0)
    assert bench.turn.words == ["answered"]


@pytest.mark.parametrize(
    ("status", "fate"), [(Status.INVALID_ARGUMENT, "given back"), (Status.UNKNOWN, "lost")]
)
async def test_a_failure_frees_it_only_where_triton_said_so(status: Status, fate: str) -> None:
    bench = Bench()
    await turns(2)
    bench.peer.says(ending(bench.call.number, status, "no"))
    with pytest.raises(CallFailed, match="no"):
        await bench.waiting
    assert bench.place.fate == [fate]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_is_given_up_keeps_it_until_the_answer_comes(cancelled: bool) -> None:
    bench = Bench(left_s=30.0 if cancelled else 0.0)
    await turns(2)
    if cancelled:
        bench.waiting.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await bench.waiting
    assert (bench.place.fate, bench.held()) == ([], 1)
    assert bench.turn.words == ["stay"]
    bench.peer.answers(bench.call.number, b"late")
    await turns(2)
    assert (bench.place.fate, bench.held()) == (["given back"], 0)
    assert bench.turn.words == ["stay", "answered", "end"]


async def test_a_refusal_as_late_says_that_there_is_too_much_to_do() -> None:
    bench = Bench()
    await turns(2)
    words = "Request timeout expired"
    bench.peer.says(ending(bench.call.number, Status.UNAVAILABLE, words))
    with pytest.raises(CallFailed, match=words):
        await bench.waiting
    assert bench.turn.words == ["refused"]


async def test_what_is_never_answered_keeps_its_slot_but_not_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.inference.calls.GIVEN_UP_S", 0.0)
    bench = Bench(left_s=0.0)
    with pytest.raises(TimeoutError):
        await bench.waiting
    await turns(3)
    assert bench.turn.words == ["stay", "end"]
    assert (bench.place.fate, bench.held()) == ([], 1)


async def test_what_is_given_up_loses_it_with_the_connection() -> None:
    bench = Bench(left_s=0.0)
    with pytest.raises(TimeoutError):
        await bench.waiting
    bench.peer.connection.connection_lost(None)
    await turns(2)
    assert (bench.place.fate, bench.held()) == (["lost"], 0)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_answer_in_the_turn_in_which_somebody_leaves_frees_it_too(cancelled: bool) -> None:
    bench = Bench()
    await turns(2)
    bench.waiting.cancel() if cancelled else bench.call.send_away()
    bench.peer.answers(bench.call.number, b"!")
    with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
        await bench.waiting
    assert (bench.place.fate, bench.held()) == (["given back"], 0)


async def test_somebody_who_leaves_in_the_turn_of_the_answer_frees_it_once() -> None:
    bench = Bench()
    await turns(2)
    bench.peer.answers(bench.call.number, b"!")
    bench.waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.waiting
    bench.call.send_away()
    await turns(2)
    assert (bench.place.fate, bench.held()) == (["given back"], 0)

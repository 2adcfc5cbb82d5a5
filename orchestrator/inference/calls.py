"""Requests on their way: each is followed to its end, whoever still waits for it.

A request that is given up is not cancelled, for Triton 2.51 (24.10) now and then dies of that: the thread that hears of
it looks at what another has given back (triton-inference-server/server#8034). And of tensors in shared memory nobody
would tell when its last byte was read: another frame's pixels in that place would be found in its answer, or in the
answer of a batch. It stays on its way, keeps its slot, and gives the slot back when its answer comes; Triton
refuses it by itself if it is still in the queue.
"""

import asyncio
import re
from typing import Any

import grpc

from orchestrator.errors import InferenceStale
from orchestrator.inference.shared_memory import Slot
from orchestrator.metrics import Metrics

Message = Any  # protobuf's classes are generated at run time
Call = Any  # of grpc.aio, untyped

# What Triton says when it refuses a request that waited too long, or when the queue is full:
# the server is well, the request is late.
REFUSED_AS_LATE = ("timeout expired", "maximum queue size")
# Of a version that went, or that became another, while it was asked (decision 0014): the server is well.
GONE = re.compile(
    r"unknown model: '[^']*' version \S+ is not|unexpected (shape|datatype) for input"
)
# Codes of a server that is not there, or hangs.
UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# For answers that are still to come when the client is closed; Triton refuses what waits longer than half a second.
SETTLE_S = 1.0
# Given-up requests that are kept, with their pixels: 80 MB of RGB. A Triton that hangs leaves far fewer, for the
# breaker opens; only one that answers everything late comes here.
MOST_GIVEN_UP = 256
# Codes that a connection which breaks does not give.
FROM_TRITON = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


class Calls:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._on_their_way: set[asyncio.Task[Message | grpc.RpcError]] = set()

    def admit(self) -> None:
        """Raises InferenceStale while too much of what was given up is unanswered."""
        if len(self._on_their_way) >= MOST_GIVEN_UP:
            raise InferenceStale(
                f"{MOST_GIVEN_UP} requests that were given up are still on their way to Triton"
            )

    async def answer(self, call: Call, slot: Slot | None, left_s: float) -> Message:
        """Wait for the answer as long as is left; a slot is looked after. Raises RpcError, TimeoutError."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # To await the call itself and to be cancelled meanwhile would cancel the call.
        call.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        try:
            async with asyncio.timeout(left_s):
                await ended
        except BaseException:  # a cancellation too: whoever leaves, the call goes on
            self._follow(call, slot)
            raise
        found = await _settled(call, slot)
        if isinstance(found, grpc.RpcError):
            raise found
        return found

    def _follow(self, call: Call, slot: Slot | None) -> None:
        following = asyncio.get_running_loop().create_task(_settled(call, slot))
        self._on_their_way.add(following)
        self._metrics.given_up.inc()
        following.add_done_callback(self._on_their_way.discard)
        following.add_done_callback(lambda _: self._metrics.given_up.dec())
        if slot is not None:
            self._metrics.slots_held.inc()
            following.add_done_callback(lambda _: self._metrics.slots_held.dec())

    async def close(self) -> None:
        """Follow them a moment longer, and no more. The slots of those that are left are not used again."""
        if not self._on_their_way:
            return
        _, left = await asyncio.wait(tuple(self._on_their_way), timeout=SETTLE_S)
        for following in left:
            following.cancel()
        if left:
            await asyncio.wait(left)


async def _settled(call: Call, slot: Slot | None) -> Message | grpc.RpcError:
    """What the call ends with; then a slot is given back, or lost where nobody can tell."""
    settled = False
    try:
        answer = await call
        settled = True
    except grpc.RpcError as error:
        settled = from_triton(error)
        return error
    else:
        return answer
    finally:
        if slot is not None:
            slot.give_back() if settled else slot.lose()


def refused_as_late(error: grpc.RpcError) -> bool:
    return any(words in str(error.details()) for words in REFUSED_AS_LATE)


def gone(error: grpc.RpcError) -> bool:
    return GONE.search(str(error.details())) is not None


def unreached(error: grpc.RpcError) -> bool:
    """Whether nobody answered; Triton itself is in the same words unavailable where no version is ready."""
    return error.code() in UNREACHED and "unknown model" not in str(error.details())


def from_triton(error: grpc.RpcError) -> bool:
    """Whether Triton itself refused, and so is done with the request; else the connection may have broken."""
    return refused_as_late(error) or gone(error) or error.code() in FROM_TRITON

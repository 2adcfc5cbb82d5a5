"""Requests on their way: each is followed to its end, whoever still waits for it.

A request that is given up is not cancelled, for Triton 2.51 (24.10) now and then dies of that: the thread that hears of
it looks at what another has given back (triton-inference-server/server#8034). And of tensors in shared memory nobody
would tell when its last byte was read: another frame's pixels in that place would be found in its answer, or in the
answer of a batch. It stays on its way, keeps its turn and its slot, and gives them back when its answer comes.
"""

import asyncio
import re

from orchestrator.inference.shared_memory import Slot
from orchestrator.inference.status import CallFailed, Status
from orchestrator.inference.stream import Stream
from orchestrator.inference.turns import Turn
from orchestrator.metrics import Metrics

# What Triton says when it refuses a request that waited too long, or when the queue is full:
# the server is well, the request is late.
REFUSED_AS_LATE = ("timeout expired", "maximum queue size")
# Of a version that went, or that became another, while it was asked (decision 0014): the server is well.
GONE = re.compile(
    r"unknown model: '[^']*' version \S+ is not|unexpected (shape|datatype) for input"
)
# Codes of a server that is not there, or hangs.
UNREACHED = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)
# For answers that are still to come when the client is closed; a Triton that is well has them sooner.
SETTLE_S = 1.0
# An answer that nobody waits for may still come so late; only a server that hangs leaves one longer.
GIVEN_UP_S = 30.0
# What a connection which breaks does not give.
FROM_TRITON = (Status.INVALID_ARGUMENT, Status.NOT_FOUND)


class Calls:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._on_their_way: set[Stream] = set()

    async def answer(self, call: Stream, turn: Turn, slot: Slot | None, left_s: float) -> bytes:
        """Wait for the answer as long as is left; turn and slot are looked after. Raises CallFailed, TimeoutError."""
        timer = asyncio.get_running_loop().call_later(left_s, call.send_away)
        try:
            return await call.answer
        finally:  # at a cancellation too: whoever leaves, the call goes on
            timer.cancel()
            if not call.ended:
                self._follow(call, turn, slot)
            else:
                _let_go(slot, call)
                _tell(turn, call)

    def _follow(self, call: Stream, turn: Turn, slot: Slot | None) -> None:
        """To its end; after half a minute without its turn, and only where it still may be read from its slot."""
        turn.stay()
        held = [self._metrics.given_up, *([] if slot is None else [self._metrics.slots_held])]
        for gauge in held:
            gauge.inc()
        self._on_their_way.add(call)

        def run_out() -> None:
            turn.end()
            if slot is None:
                call.reset()

        patience = asyncio.get_running_loop().call_later(GIVEN_UP_S, run_out)

        def ended(_: asyncio.Future[bytes]) -> None:
            self._on_their_way.discard(call)
            for gauge in held:
                gauge.dec()
            patience.cancel()
            _let_go(slot, call)
            _tell(turn, call)
            turn.end()

        call.wait_anew()
        call.answer.add_done_callback(ended)

    async def close(self) -> None:
        """Follow them a moment longer, and no more. The slots of those that are left are not used again."""
        if self._on_their_way:
            await asyncio.wait([call.answer for call in self._on_their_way], timeout=SETTLE_S)


def _let_go(slot: Slot | None, call: Stream) -> None:
    """The call has ended; its slot is given back, or lost where nobody can tell whether it is still read."""
    if slot is None:
        return
    known = call.failure is None or from_triton(call.failure)
    slot.give_back() if known else slot.lose()


def _tell(turn: Turn, call: Stream) -> None:
    """What the end of a call says about how much Triton has to do."""
    if call.failure is None:
        turn.answered()
    elif refused_as_late(call.failure):
        turn.refused()


def refused_as_late(error: CallFailed) -> bool:
    return any(words in error.details for words in REFUSED_AS_LATE)


def gone(error: CallFailed) -> bool:
    return GONE.search(error.details) is not None


def unreached(error: CallFailed) -> bool:
    """Whether nobody answered; Triton itself is in the same words unavailable where no version is ready."""
    return error.status in UNREACHED and "unknown model" not in error.details


def from_triton(error: CallFailed) -> bool:
    """Whether Triton itself refused, and so is done with the request; else the connection may have broken."""
    return refused_as_late(error) or gone(error) or error.status in FROM_TRITON

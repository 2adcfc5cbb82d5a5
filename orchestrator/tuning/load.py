"""A closed loop through the orchestrator's own Triton client: so many requests on their way, all the time."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import InferenceError
from orchestrator.inference.triton import ServedModel, TritonClient
from orchestrator.tuning.pictures import Request
from orchestrator.tuning.trial import LoadPoint

PATIENCE_S = 5.0
RAMP_SHARE = 0.3  # of the measured time, before it


async def closed_loop(
    client: TritonClient,
    model: ServedModel,
    requests: Sequence[Request],
    concurrency: int,
    seconds: float,
) -> LoadPoint:
    """What came back within `seconds`, once it was under way."""
    loop = _Loop(client, model, itertools.cycle(requests))
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(loop.ask()) for _ in range(concurrency)]
        await asyncio.sleep(RAMP_SHARE * seconds)
        point = await loop.counted(concurrency, seconds)
        for task in asking:
            task.cancel()
    return point


class _Loop:
    def __init__(
        self, client: TritonClient, model: ServedModel, requests: Iterator[Request]
    ) -> None:
        self._client = client
        self._model = model
        self._requests = requests
        self._outputs = tuple(output.name for output in model.outputs)
        self._took_ms: list[float] = []
        self._failed = 0

    async def ask(self) -> None:
        """Ask again and again until cancelled."""
        while True:
            began_s = time.monotonic()
            try:
                await self._client.infer(
                    self._model,
                    next(self._requests),
                    self._outputs,
                    deadline_s=began_s + PATIENCE_S,
                )
            except InferenceError:
                self._failed += 1
                await asyncio.sleep(
                    0
                )  # one that fails at once must not keep the others from the loop
            else:
                self._took_ms.append((time.monotonic() - began_s) * 1000)

    async def counted(self, concurrency: int, seconds: float) -> LoadPoint:
        self._took_ms, self._failed = [], 0
        began_s = time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        # Where nothing was answered, an answer takes at least as long as one is waited for.
        found: NDArray[np.float64] = np.array(self._took_ms or [PATIENCE_S * 1000])
        p50, p99 = np.quantile(found, (0.5, 0.99), method="inverted_cdf")
        return LoadPoint(
            concurrency, len(self._took_ms) / took_s, float(p50), float(p99), self._failed
        )

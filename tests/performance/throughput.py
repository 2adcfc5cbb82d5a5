"""Triton's own counters: how much it has inferred, and in what batches."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from tests.performance.bench import until


@dataclass(frozen=True, slots=True)
class Count:
    """At one moment, since the server's start. failed: requests that gave no result."""

    at_s: float
    inferences: int
    executions: int
    failed: int


@dataclass(frozen=True, slots=True)
class Throughput:
    per_s: float
    batch: float
    failed: int


async def count(http_url: str, model: str) -> Count:
    return await asyncio.to_thread(_count, http_url, model)


def _count(http_url: str, model: str) -> Count:
    url = f"http://{http_url}/v2/models/{model}/stats"
    with urllib.request.urlopen(url, timeout=10) as answer:
        stats = json.loads(answer.read())["model_stats"][0]
    return Count(
        time.monotonic(),
        int(stats["inference_count"]),
        int(stats["execution_count"]),
        int(stats["inference_stats"]["fail"]["count"]),
    )


async def reached(http_url: str, model: str, ramp_s: float) -> None:
    """Wait until a load reaches Triton, and for as long as it may take to get going. Raises TimeoutError."""
    first = await count(http_url, model)
    begun = first.inferences + 20
    await until(lambda: _count(http_url, model).inferences >= begun, 60, "the load reaching Triton")
    await asyncio.sleep(ramp_s)


async def throughput(
    http_url: str,
    model: str,
    ramp_s: float,
    seconds: float,
    on_begin: Callable[[], None] = lambda: None,
) -> Throughput:
    """What was inferred in `seconds`, once the load has run for `ramp_s`. Raises TimeoutError where nothing comes."""
    await reached(http_url, model, ramp_s)
    on_begin()
    before = await count(http_url, model)
    await asyncio.sleep(seconds)
    after = await count(http_url, model)
    inferences = after.inferences - before.inferences
    return Throughput(
        inferences / (after.at_s - before.at_s),
        inferences / max(after.executions - before.executions, 1),
        after.failed - before.failed,
    )

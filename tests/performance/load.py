"""Sends requests through the orchestrator's own Triton client, until it is ended by a signal.

Each second it prints one line of JSON: when, how many answers had come in it, and how long they took.
"""

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from orchestrator.app import make_triton_client
from orchestrator.errors import InferenceStale, InferenceUnavailable
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, TritonSettings
from tests.performance.statistic import percentile
from tests.performance.tensors import read
from tests.performance.traffic import Traffic

PATIENCE_S = 5.0
# An open loop does not wait for answers: its bound is there for a server that hangs.
OPEN_LIMIT = 4096

Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Order:
    """What one process is told, as JSON. frames: a .npz file of `recorded`, sent in turn."""

    url: str
    model: str
    frames: str
    traffic: Traffic

    @classmethod
    def read(cls, text: str) -> "Order":
        given = json.loads(text)
        return cls(**{**given, "traffic": Traffic(**given["traffic"])})

    def text(self) -> str:
        return json.dumps(asdict(self))


class Load:
    def __init__(self) -> None:
        self._took_s: list[float] = []
        self._may_be_held_back = False

    async def run(self, order: Order) -> None:
        settings = Settings(state_dir=Path(order.frames).parent, triton=triton_settings(order))
        self._may_be_held_back = order.traffic.within_s is not None
        client = make_triton_client(settings, Metrics(CollectorRegistry()))
        model = await client.describe(order.model)
        outputs = tuple(each.name for each in model.outputs)
        turns = itertools.cycle(_requests(Path(order.frames)))

        async def ask() -> None:
            deadline_s = time.monotonic() + (order.traffic.within_s or PATIENCE_S)
            await client.infer(model, next(turns), outputs, deadline_s=deadline_s)

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell())
                if order.traffic.rate is not None:
                    tasks.create_task(self._open(ask, order.traffic, tasks))
                for _ in range(order.traffic.concurrency or 0):
                    tasks.create_task(self._closed(ask))
        finally:
            await (
                client.close()
            )  # waits for what is on its way: Triton may die of a connection that breaks

    async def _closed(self, ask: Ask) -> None:
        while True:
            await self._timed(ask, time.monotonic())

    async def _open(self, ask: Ask, traffic: Traffic, tasks: asyncio.TaskGroup) -> None:
        """Begin each request when it is due; a loop that is late begins at once whatever is due by then."""
        due_s = time.monotonic()
        for gap_us in itertools.cycle(traffic.gaps_us()):
            due_s += gap_us / 1e6
            left_s = due_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            tasks.create_task(self._timed(ask, due_s))

    async def _timed(self, ask: Ask, begun_s: float) -> None:
        try:
            await ask()
        except InferenceStale:
            return  # where Triton refused it, its own counters have it among the failed
        except InferenceUnavailable:
            if not self._may_be_held_back:
                raise
            return
        self._took_s.append(time.monotonic() - begun_s)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            took_s, self._took_s = self._took_s, []
            line = {
                "at_s": time.monotonic(),
                "answers": len(took_s),
                "p99_ms": percentile(took_s, 0.99) * 1000,
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


def _requests(file: Path) -> list[Any]:
    """One input goes as its array, several by name."""
    columns = read(file)
    if len(columns) == 1:
        (rows,) = columns.values()
        return [row[None] for row in rows]
    count = len(next(iter(columns.values())))
    return [{name: rows[n][None] for name, rows in columns.items()} for n in range(count)]


def own_windows_p99_ms(logs: Sequence[Path]) -> list[float]:
    """Of each second, what the slowest of our processes saw of it."""
    seen = [[json.loads(line)["p99_ms"] for line in log.read_text().splitlines()] for log in logs]
    return [max(second) for second in zip(*seen, strict=False)]


def answers_per_s(log: Path, since_s: float) -> float:
    """Of one process, between its first and its last line after that moment. NaN for less than two."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [line for line in lines if line["at_s"] >= since_s]
    if len(seen) < 2:
        return float("nan")
    answers = sum(int(line["answers"]) for line in seen[1:])
    return answers / float(seen[-1]["at_s"] - seen[0]["at_s"])


def triton_settings(order: Order) -> TritonSettings:
    if order.traffic.within_s is not None:
        return TritonSettings(url=order.url, shared_memory="off")
    return TritonSettings(
        url=order.url,
        timeout=PATIENCE_S,
        max_in_flight=order.traffic.concurrency or OPEN_LIMIT,
        shared_memory="on" if order.traffic.shared_memory else "off",
    )


async def main(order: Order) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(Load().run(order))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)


if __name__ == "__main__":
    asyncio.run(main(Order.read(sys.argv[1])))

"""Turns: one load at a time, as long and as often as the other, and both run afterwards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.performance import turns
from tests.performance.bench import until
from tests.performance.throughput import Count
from tests.performance.turns import Turns, stopped, take_turns


@pytest.fixture
def loads() -> Iterator[tuple[psutil.Process, psutil.Process]]:
    with ExitStack() as stack:
        one, other = (_idling(stack) for _ in range(2))
        yield psutil.Process(one.pid), psutil.Process(other.pid)


def _idling(stack: ExitStack) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def _stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


class Server:
    """Answers 100 a second to the first load, in batches of one, and 300 to the second, in threes."""

    def __init__(self, loads: tuple[psutil.Process, psutil.Process]) -> None:
        self._loads = loads
        self._counted = 0
        self._inferences = self._executions = 0
        self.seen: list[int] = []

    async def count(self) -> Count:
        # A signal takes a moment where the cores are busy.
        await until(lambda: len(self._running()) == 1, 10, "one load alone running", 0.01)
        (running,) = self._running()
        self.seen.append(running)
        self._counted += 1
        if self._counted % 2 == 0:
            self._inferences += (10, 30)[running]
            self._executions += 10
        return Count(self._counted // 2 * 0.1, self._inferences, self._executions, 0)

    def _running(self) -> list[int]:
        return [side for side, load in enumerate(self._loads) if not _stopped(load)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.01)
    monkeypatch.setattr(turns, "SETTLE_S", (0.01, 0.02))


@pytest.mark.usefixtures("quick")
async def test_each_is_counted_while_the_other_is_stopped(
    loads: tuple[psutil.Process, psutil.Process],
) -> None:
    server = Server(loads)
    one, other = await take_turns(([loads[0].pid], [loads[1].pid]), loads[0].pid, server.count, 4)
    assert server.seen[::2] == server.seen[1::2] == [0, 1, 1, 0, 0, 1, 1, 0]
    assert one.throughput.per_s == pytest.approx(100)
    assert other.throughput.per_s == pytest.approx(300)
    assert (one.throughput.batch, other.throughput.batch) == (1.0, 3.0)
    assert not any(_stopped(each) for each in loads)


@pytest.mark.usefixtures("quick")
async def test_both_run_again_where_the_server_fails(
    loads: tuple[psutil.Process, psutil.Process],
) -> None:
    async def fails() -> Count:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        await take_turns(([loads[0].pid], [loads[1].pid]), loads[0].pid, fails)
    assert not any(_stopped(each) for each in loads)


def test_one_that_waits_for_the_other_goes_on_afterwards(
    loads: tuple[psutil.Process, psutil.Process],
) -> None:
    with stopped([loads[0].pid]):
        deadline_s = time.monotonic() + 5
        while not _stopped(loads[0]) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert _stopped(loads[0])
    assert not _stopped(loads[0])


def test_cpu_of_a_load_is_told_of_its_own_turns() -> None:
    found = Turns()
    found.add(Count(0.0, 0, 0, 0), Count(0.5, 50, 25, 1), load_s=0.25, triton_s=0.5)
    found.add(Count(9.0, 90, 90, 1), Count(9.5, 140, 115, 1), load_s=0.25, triton_s=0.25)
    assert (found.load_cores, found.triton_cores) == (0.5, 0.75)
    assert (found.throughput.per_s, found.throughput.batch, found.throughput.failed) == (100, 2, 1)

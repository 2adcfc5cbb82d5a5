"""A process killed without warning: what was on disk is sent by the next, in order."""

import asyncio
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from eventbus.outbox import Outbox
from eventbus.spool import Spool
from eventbus.topics import Topics
from tests.eventbus.reports import KINDS
from tests.eventbus.unsteady import UnsteadyBus
from tests.eventbus.until import until

ROOT = Path(__file__).resolve().parents[2]


def killed_after(lines: int, folder: Path, *arguments: str) -> int:
    """Run the doomed process and SIGKILL it once it said so many lines; the last number it said."""
    command = [sys.executable, "-m", "tests.eventbus.doomed", str(folder), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = [int(line) for line in islice(process.stdout, lines)]
    finally:
        process.kill()
        rest, _ = process.communicate()
    return int(rest.split()[-1]) if rest.split() else said[-1]


@pytest.mark.parametrize("lines", [1, 37, 400])
def test_what_was_written_when_the_process_was_killed_is_read_by_the_next(
    tmp_path: Path, lines: int
) -> None:
    written = killed_after(lines, tmp_path, "spool")
    spool = Spool(tmp_path, 1 << 26, Topics())
    spool.open()
    found: list[int] = []
    while hand := spool.take(100, 1 << 20):
        found += [entry.sequence for entry in hand]
        spool.settle(())
    assert written <= len(found) <= written + 1  # one may have been written and not told
    assert found == list(range(1, len(found) + 1))
    assert sum(spool.damage().values()) <= 1


async def test_events_of_a_killed_process_whose_bus_was_away_are_published_by_the_next(
    tmp_path: Path,
) -> None:
    killed_after(1, tmp_path)
    bus = UnsteadyBus()
    box = Outbox(
        bus,
        tmp_path,
        1 << 26,
        on_sent=lambda record: None,
        on_dropped=lambda topic, cause, events: None,
    )
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(box.run())
        await until(lambda: not any(tmp_path.glob("*.spool")))
        run.cancel()
    for kind, make in enumerate(KINDS):
        topic = bus.topics.of(make("door", 1).event_type)
        expected = [("door", number) for number in range(1, 2001) if number % 4 == kind]
        assert bus.seen(topic) == expected

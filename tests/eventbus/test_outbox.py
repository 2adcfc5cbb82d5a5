"""The outbox: takes events at once, loses none below its bounds, and keeps a camera's order."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventbus.backoff import Backoff
from eventbus.bus import Record
from eventbus.outbox import Outbox
from tests.eventbus.reports import alert, face, motion, status
from tests.eventbus.unsteady import UnsteadyBus
from tests.eventbus.until import until

SWIFT = Backoff(base_s=0.001, cap_s=0.01)


class Account:
    """What the outbox said became of events."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.dropped: Counter[tuple[str, str]] = Counter()

    def drop(self, topic: str, cause: str, events: int) -> None:
        self.dropped[topic, cause] += events


def outbox(
    bus: UnsteadyBus,
    folder: Path,
    account: Account,
    *,
    max_bytes: int = 1 << 24,
    memory_events: int = 20_000,
) -> Outbox:
    return Outbox(
        bus,
        folder,
        max_bytes,
        on_sent=account.sent.append,
        on_dropped=account.drop,
        memory_events=memory_events,
        batch_events=50,
        backoff=SWIFT,
    )


@asynccontextmanager
async def running(box: Outbox) -> AsyncIterator[Outbox]:
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(box.run())
        try:
            yield box
        finally:
            run.cancel()


async def test_events_reach_the_bus_in_the_order_they_were_handed_over(tmp_path: Path) -> None:
    bus, account = UnsteadyBus(), Account()
    async with running(outbox(bus, tmp_path, account)) as box:
        for number in range(300):
            box.put(motion(f"camera-{number % 3}", number))
        await until(lambda: box.waiting == 0)
    assert bus.seen(bus.topics.motion) == [(f"camera-{n % 3}", n) for n in range(300)]
    assert len(account.sent) == 300
    assert not account.dropped


async def test_events_that_follow_closely_share_a_call(tmp_path: Path) -> None:
    bus = UnsteadyBus()
    async with running(outbox(bus, tmp_path, Account())) as box:
        for number in range(300):
            box.put(motion("door", number))
            await asyncio.sleep(
                0
            )  # the bus is quicker than they come: each could have a call of its own
        await until(lambda: box.waiting == 0)
    assert bus.seen(bus.topics.motion) == [("door", number) for number in range(300)]
    assert bus.calls < 100


async def test_handing_over_needs_neither_bus_nor_disk_nor_event_loop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    box = outbox(UnsteadyBus("down"), tmp_path / "file", Account())
    for number in range(1000):
        box.put(motion("door", number))
    assert box.waiting == 1000


async def test_while_the_bus_is_down_events_wait_on_disk_and_leave_in_order_afterwards(
    tmp_path: Path,
) -> None:
    bus, account = UnsteadyBus("down"), Account()
    async with running(outbox(bus, tmp_path, account)) as box:
        for number in range(500):
            box.put(motion("door", number))
        await until(lambda: "line is cut" in box.degraded and any(tmp_path.glob("*.spool")))
        for number in range(500, 600):
            box.put(motion("door", number))
        await asyncio.sleep(0.3)
        assert box.waiting == 600
        bus.line = "up"
        await until(lambda: box.waiting == 0)
        assert box.degraded == ""
    assert bus.seen(bus.topics.motion) == [("door", number) for number in range(600)]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_a_bus_that_does_not_answer_leaves_no_event_in_memory_only(tmp_path: Path) -> None:
    bus = UnsteadyBus("silent")
    async with running(outbox(bus, tmp_path, Account())) as box:
        box.put(motion("door", 0))
        await until(lambda: bus.calls == 1)
        box.put(motion("door", 1))
        await until(lambda: any(tmp_path.glob("motion*.spool")) and box.at_risk == 1)
        assert box.waiting == 2


async def test_what_a_stopped_process_left_is_sent_first_by_the_next(tmp_path: Path) -> None:
    down = UnsteadyBus("down")
    async with running(outbox(down, tmp_path, Account())) as first:
        for number in range(100):
            first.put(motion("door", number))
        await first.drain(0.2)
    first.close()
    bus, account = UnsteadyBus(), Account()
    second = outbox(bus, tmp_path, account)
    for number in range(100, 120):
        second.put(motion("door", number))  # before it runs
    async with running(second):
        await until(lambda: second.waiting == 0)
    assert bus.seen(bus.topics.motion) == [("door", number) for number in range(120)]
    assert not account.dropped


async def test_draining_publishes_what_it_can_in_its_time(tmp_path: Path) -> None:
    bus = UnsteadyBus()
    box = outbox(bus, tmp_path, Account())
    for number in range(200):
        box.put(motion("door", number))
    await box.drain(10.0)
    assert len(bus.seen(bus.topics.motion)) == 200
    assert box.waiting == 0


async def test_draining_gives_up_in_time_and_leaves_the_rest_on_disk(tmp_path: Path) -> None:
    bus = UnsteadyBus("silent")
    box = outbox(bus, tmp_path, Account())
    box.put(alert("door", 1))
    async with asyncio.timeout(5):
        await box.drain(0.1)
    assert box.waiting == 1
    assert len(list(tmp_path.glob("alert*.spool"))) == 1


async def test_an_answer_that_was_lost_makes_a_repeat_with_the_same_id(tmp_path: Path) -> None:
    bus, account = UnsteadyBus("deaf"), Account()
    async with running(outbox(bus, tmp_path, account)) as box:
        box.put(face("door", 1))
        await until(lambda: bus.calls >= 2)
        bus.line = "up"
        await until(lambda: box.waiting == 0)
    assert len(bus.memory.records(bus.topics.faces)) > 1
    assert bus.seen(bus.topics.faces) == [("door", 1)]
    assert len(account.sent) == 1


async def test_an_event_that_is_too_large_is_counted_and_holds_up_no_other(tmp_path: Path) -> None:
    bus, account = UnsteadyBus(max_bytes=2000), Account()
    async with running(outbox(bus, tmp_path, account)) as box:
        box.put(alert("door", 1))
        box.put(alert("door", 2, message="x" * 3000))
        box.put(alert("door", 3))
        await until(lambda: box.waiting == 0)
    assert bus.seen(bus.topics.alerts) == [("door", 1), ("door", 3)]
    assert account.dropped == Counter({(bus.topics.alerts, "refused"): 1})


async def test_at_the_bound_of_the_folder_motion_is_dropped_and_alerts_are_kept(
    tmp_path: Path,
) -> None:
    bus, account = UnsteadyBus("down"), Account()
    async with running(outbox(bus, tmp_path, account, max_bytes=65_536)) as box:
        for number in range(100):
            box.put(alert("door", number))
            for frame in range(10):
                box.put(motion("door", number * 10 + frame))
            await asyncio.sleep(0.002)
        await until(lambda: account.dropped[bus.topics.motion, "spool_full"] > 0)
        bus.line = "up"
        await until(lambda: box.waiting == 0)
    assert bus.seen(bus.topics.alerts) == [("door", number) for number in range(100)]
    assert set(account.dropped) == {(bus.topics.motion, "spool_full")}
    seen = [number for _, number in bus.seen(bus.topics.motion)]
    assert len(seen) + account.dropped[bus.topics.motion, "spool_full"] == 1000
    assert seen == sorted(seen)


async def test_a_disk_that_takes_nothing_is_told_and_memory_holds_what_it_can(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "outbox"
    folder.write_text("in the way")
    bus, account = UnsteadyBus("down"), Account()
    async with running(outbox(bus, folder, account, memory_events=100)) as box:
        for number in range(150):
            box.put(motion("door", number))
        for number in range(50):
            box.put(alert("door", number))
        await until(lambda: "outbox folder" in box.degraded)
        assert box.waiting <= 100
        folder.unlink()  # room again
        await until(lambda: folder.is_dir() and "outbox folder" not in box.degraded)
        bus.line = "up"
        await until(lambda: box.waiting == 0)
    assert bus.seen(bus.topics.alerts) == [("door", number) for number in range(50)]
    assert bus.seen(bus.topics.motion) == [("door", number) for number in range(100, 150)]
    assert account.dropped == Counter({(bus.topics.motion, "memory_full"): 100})


async def test_what_neither_bus_nor_disk_takes_at_the_end_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    folder.write_text("in the way")
    bus, account = UnsteadyBus("down"), Account()
    box = outbox(bus, folder, account)
    box.put(status("door", 1))
    await box.drain(0.1)
    assert account.dropped == Counter({(bus.topics.status, "shutdown"): 1})


async def test_the_age_of_the_oldest_waiting_event_is_known(tmp_path: Path) -> None:
    event = motion("door", 5)
    box = Outbox(
        UnsteadyBus("down"),
        tmp_path,
        1 << 20,
        on_sent=lambda record: None,
        on_dropped=lambda topic, cause, events: None,
        wall_clock=lambda: event.timestamp.timestamp() + 42.0,
    )
    assert box.oldest_age_s == 0.0
    box.put(event)
    assert box.oldest_age_s == pytest.approx(42.0)
    await box.drain(0.01)
    assert box.oldest_age_s == pytest.approx(42.0)


async def test_cancelling_while_a_batch_is_under_way_loses_nothing(tmp_path: Path) -> None:
    bus = UnsteadyBus("silent")
    async with running(outbox(bus, tmp_path, Account())) as box:
        box.put(motion("door", 1))
        await until(lambda: bus.calls == 1)
    bus.line = "up"
    with contextlib.suppress(TimeoutError):
        await box.drain(10.0)
    assert bus.seen(bus.topics.motion) == [("door", 1)]


async def test_a_bus_that_comes_and_goes_is_told_in_a_line_each_not_at_every_try(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = UnsteadyBus("down")
    async with running(outbox(bus, tmp_path, Account())) as box:
        box.put(motion("door", 1))
        await until(lambda: bus.calls > 10)
        bus.line = "up"
        await until(lambda: box.waiting == 0)
        await until(lambda: len(caplog.messages) == 2)
    away, back = caplog.messages
    assert away.startswith("the line is cut; 1 events wait")
    assert back.startswith("the bus takes events again")

"""`fess run` whose event bus is away and whose disk is full: it stays up, says so, and loses no event."""

import asyncio
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from eventbus.events import MotionDetectionEvent
from orchestrator.settings import Settings
from tests.e2e.running import Running, eventually, running
from tests.faults.site import PATIENT, PICTURES, Bus, clip, metric, on_the_bus, outbox
from tests.servers.reading_model import numbers_in

pytestmark = pytest.mark.xdist_group("triton")

AWAY_S = float(os.environ.get("FESS_FAULT_AWAY_S", "0"))


def test_events_of_a_run_that_ends_while_the_bus_is_away_are_delivered_by_the_next(
    settings: Settings, bus: Bus, folder: Path
) -> None:
    with running(folder, settings, {"door": clip(folder, pace="fast")}, **PATIENT) as fess:
        assert eventually(lambda: metric(fess, "fess_kafka_events_sent_total") > 0), fess.log
        bus.away()
        assert eventually(lambda: fess.sees("door", frames=PICTURES)), fess.log
        assert fess.stop() == 0, fess.log
    kept = list((folder / ".fess" / "outbox").glob("*.spool"))
    bus.back()
    with running(folder, settings, {}, **PATIENT) as fess:
        assert eventually(lambda: fess.get("/health")[0] == 200), fess.log
        assert eventually(lambda: metric(fess, "fess_outbox_events") == 0), fess.log
        assert metric(fess, "fess_events_dropped_total") == 0
        assert fess.stop() == 0, fess.log
    events = {event.event_id: event for event in asyncio.run(on_the_bus(settings))}.values()
    motion = [event for event in events if isinstance(event, MotionDetectionEvent)]
    assert Counter(event.frame_number for event in motion) == Counter(range(1, PICTURES + 1))
    assert all(numbers_in(event) == [event.frame_number] for event in motion)
    assert kept


class FullDisk:
    """A folder in which nothing can be written until there is room again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[FullDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "fess-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a full disk: a small file system can be mounted by root only")
    disk = FullDisk(folder)
    disk.fill()
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_events_wait_in_memory_and_the_process_says_so_until_there_is_room(
    settings: Settings, bus: Bus, folder: Path, full_disk: FullDisk
) -> None:
    bus.away()
    variables = PATIENT | {"EVENTS_OUTBOX": str(full_disk.folder / "outbox")}
    with running(folder, settings, {"door": clip(folder, loop=True)}, **variables) as fess:
        assert eventually(lambda: "No space left" in str(outbox(fess).get("error"))), fess.log
        assert eventually(lambda: fess.json("/health").get("status") == "degraded"), fess.log
        seen = fess.cameras()["door"]["coverage"]["inspected"]
        assert eventually(lambda: fess.sees("door", frames=seen + 10)), fess.log

        full_disk.free()
        assert eventually(lambda: any(full_disk.folder.glob("outbox/*.spool"))), fess.log
        assert eventually(lambda: "No space left" not in str(outbox(fess).get("error"))), fess.log
        bus.back()
        assert eventually(lambda: bool(outbox(fess).get("healthy"))), fess.log
        assert eventually(lambda: fess.json("/health")["status"] == "healthy"), fess.log
        assert metric(fess, "fess_events_dropped_total") == 0
        assert fess.stop() == 0, fess.log
    motion = [
        event
        for event in asyncio.run(on_the_bus(settings))
        if isinstance(event, MotionDetectionEvent)
    ]
    frames = sorted({event.frame_number for event in motion})
    # Live, a frame may be skipped for a newer one; those reported begin with the first, while the disk was full.
    assert frames[0] == 1
    assert len(frames) > seen


def test_where_the_outbox_can_never_be_the_process_stays_up_and_events_go_to_the_bus(
    settings: Settings, folder: Path
) -> None:
    (folder / "outbox").write_text("a file where a folder should be")
    cameras = {"door": clip(folder, loop=True)}
    with running(folder, settings, cameras, **PATIENT, EVENTS_OUTBOX="outbox") as fess:
        assert eventually(lambda: fess.sees("door")), fess.log
        assert eventually(lambda: "outbox folder" in str(outbox(fess).get("error"))), fess.log
        assert eventually(lambda: fess.json("/health").get("status") == "degraded"), fess.log
        assert eventually(lambda: metric(fess, "fess_kafka_events_sent_total") > 10), fess.log
        assert fess.stop() == 0, fess.log


@pytest.mark.timeout(AWAY_S + 300)
@pytest.mark.skipif(not AWAY_S, reason="takes minutes: set FESS_FAULT_AWAY_S=300")
def test_a_bus_that_is_away_for_minutes_gets_every_event_in_order_and_inspection_never_stops(
    settings: Settings, bus: Bus, folder: Path
) -> None:
    """Fault 15 at full length; the bounds of the outbox are tried with small ones in tests/eventbus."""
    cameras = {"door": clip(folder, loop=True, fps=5.0)}
    with running(folder, settings, cameras, **PATIENT) as fess:
        assert eventually(lambda: fess.sees("door", frames=25)), fess.log
        process = psutil.Process(fess.process.pid)
        bus.away()
        before_bytes, decoded, inspected = process.memory_info().rss, *frames_of(fess)
        time.sleep(AWAY_S)
        decoded_away, inspected_away = frames_of(fess)
        grown_bytes = process.memory_info().rss - before_bytes
        assert metric(fess, "fess_outbox_events") > 0
        bus.back()
        assert eventually(lambda: metric(fess, "fess_outbox_events") < 25, 120), fess.log
        assert metric(fess, "fess_events_dropped_total") == 0
        assert fess.stop() == 0, fess.log
    promised = (decoded_away - decoded) * 5 / 25
    assert inspected_away - inspected >= 0.95 * promised - 2
    assert grown_bytes < 50e6
    motion = [
        one for one in asyncio.run(on_the_bus(settings)) if isinstance(one, MotionDetectionEvent)
    ]
    first_seen = list(dict.fromkeys(one.frame_number for one in motion))
    assert first_seen == sorted(first_seen)
    assert len(first_seen) >= inspected_away


def frames_of(fess: Running) -> tuple[int, int]:
    """Decoded, inspected."""
    coverage = fess.cameras()["door"]["coverage"]
    return coverage["decoded"], coverage["inspected"]

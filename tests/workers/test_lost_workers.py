"""What is told of the cameras of a worker that died: once that they are lost, and who tells that they are back."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from eventbus.events import AlertEvent, Event, SystemStatusEvent, decode
from eventbus.memory import MemoryBus
from orchestrator.camera import Camera, CameraState
from orchestrator.metrics import Metrics
from orchestrator.settings import EventsSettings, Settings
from orchestrator.workers.messages import Start
from orchestrator.workers.supervisor import WorkerSupervisor
from tests.eventbus.until import until

WATCHING = b'{"http_port": 1, "watching": true}\n'
NOT_YET = b'{"http_port": 1, "watching": false}\n'


class Workers:
    """A supervisor of one worker, whose lives go as the test says: what each writes before it dies or waits."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._script = folder / "worker.py"
        self._starts = folder / "starts"
        self._starts.mkdir()
        self.bus = MemoryBus()
        monkeypatch.setattr(
            "orchestrator.workers.supervisor.COMMAND", (sys.executable, str(self._script))
        )
        self.supervisor = WorkerSupervisor(
            Settings(events=EventsSettings(outbox=folder / "outbox")),
            1,
            bus=self.bus,
            metrics=Metrics(CollectorRegistry()),
        )

    def live(self, says: bytes, *, dies: bool) -> None:
        """How every life goes from now on."""
        new = self._script.with_suffix(".new")
        new.write_text(
            "import pathlib, sys, tempfile, time\n"
            "start = sys.stdin.readline()\n"
            f"tempfile.NamedTemporaryFile('w', dir={str(self._starts)!r}, delete=False).write(start)\n"
            f"sys.stdout.buffer.write({says!r})\n"
            "sys.stdout.flush()\n" + ("" if dies else "sys.stdin.read()\n")
        )
        new.replace(self._script)

    @property
    def lives(self) -> int:
        return len(list(self._starts.iterdir()))

    @property
    def starts(self) -> list[str]:
        paths = sorted(self._starts.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text() for path in paths]

    async def watch(self) -> None:
        await self.supervisor.run(cameras("door", "yard"))

    async def told(self) -> list[Event]:
        found: list[Event] = []
        try:
            async with aclosing(self.bus.subscribe(self.bus.topics.all, None)) as deliveries:
                while True:
                    async with asyncio.timeout(0.2):
                        found.append(decode((await anext(deliveries)).payload))
        except TimeoutError:
            return found

    def shown(self) -> dict[str, CameraState]:
        return {status.camera_id: status.state for status in self.supervisor.board.cameras()}


async def cameras(*names: str) -> AsyncIterator[tuple[Camera, ...]]:
    yield tuple(Camera(camera_id=name, url=SecretStr(f"{name}.mp4")) for name in names)


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(tmp_path, monkeypatch)


@pytest.mark.parametrize("says", [b"", NOT_YET], ids=["at once", "while it waits for Triton"])
async def test_a_worker_that_never_comes_up_has_its_cameras_told_as_lost_once_with_the_reason(
    workers: Workers, says: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    workers.live(says, dies=True)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(workers.watch())
        await until(lambda: workers.lives >= 3)
        watching.cancel()
    told = await workers.told()
    statuses = [event for event in told if isinstance(event, SystemStatusEvent)]
    assert Counter((event.camera_id, event.status, event.detail) for event in statuses) == {
        (name, "offline", "the process that watched it died"): 1 for name in ("door", "yard")
    }
    alerts = [event.alert_message for event in told if isinstance(event, AlertEvent)]
    assert sorted(alerts) == [
        f"Camera {name} is lost: the process that watched it died" for name in ("door", "yard")
    ]
    assert workers.shown() == dict.fromkeys(("door", "yard"), CameraState.OFFLINE)
    assert {record.name for record in caplog.records} == {"orchestrator.workers.supervisor"}


async def test_a_worker_that_takes_its_cameras_up_knows_which_were_told_as_lost_and_tells_the_rest(
    workers: Workers,
) -> None:
    workers.live(b"", dies=True)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(workers.watch())
        await until(lambda: set(workers.shown()) == {"door", "yard"})
        workers.live(WATCHING, dies=False)
        await until(lambda: not workers.shown())
        watching.cancel()
    first, *_, last = (start_of(line) for line in workers.starts)
    assert (first, last) == (set(), {"door", "yard"})


async def test_cameras_that_were_taken_up_and_are_lost_again_are_told_again(
    workers: Workers,
) -> None:
    workers.live(WATCHING, dies=True)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(workers.watch())
        await until(lambda: workers.lives >= 3)
        watching.cancel()
    statuses = Counter(
        event.camera_id for event in await workers.told() if isinstance(event, SystemStatusEvent)
    )
    assert min(statuses["door"], statuses["yard"]) >= 2


def start_of(line: str) -> set[str]:
    return set(Start.model_validate_json(line).lost)

"""Runs worker processes, each with a few cameras and the whole pipeline, and replaces one that hangs or dies.

A blocked native read cannot be cancelled from asyncio; a process can be killed (design decision 12).
"""

import asyncio
import contextlib
import logging
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from eventbus.bus import EventBus
from orchestrator.board import Board
from orchestrator.camera import Camera
from orchestrator.delivery import worker_outbox
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings
from orchestrator.workers.loss import tell_lost
from orchestrator.workers.messages import Assignment, Beat, Start

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "orchestrator.cli.start", "worker")
BEAT_EVERY_S = 0.5
HUNG_AFTER_S = 5.0
START_WITHIN_S = 60.0
STOP_WITHIN_S = 9.0
# A worker that lived this long starts again at once; one that dies sooner waits, longer each time.
HEALTHY_AFTER_S = 10.0
PAUSE_CAP_S = 10.0


@dataclass(slots=True)
class Slot:
    """One worker's place: its process comes and goes, its cameras stay.

    lost  cameras whose loss was told, until a process has taken them up again
    """

    number: int
    cameras: dict[str, Camera] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    process: Process | None = None
    http_port: int | None = None

    @property
    def assignment(self) -> Assignment:
        return Assignment.of(tuple(self.cameras.values()))


class WorkerSupervisor:
    """board: shows the cameras that no worker watches at the moment, and what was told of them."""

    def __init__(
        self, settings: Settings, workers: int, *, bus: EventBus, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._metrics = metrics
        self.board = Board()
        self.slots = tuple(Slot(number) for number in range(workers))

    async def run(self, lists: AsyncIterator[tuple[Camera, ...]]) -> None:
        """Keep every worker alive and spread each new list of cameras over them, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for slot in self.slots:
                tasks.create_task(self._keep(slot), name=f"worker:{slot.number}")
            async for cameras in lists:
                for slot in self.spread(cameras):
                    self._found(slot.lost - slot.cameras.keys(), slot)
                    await _send(slot.process, slot.assignment)

    def slot_of(self, camera_id: str) -> Slot | None:
        return next((slot for slot in self.slots if camera_id in slot.cameras), None)

    def spread(self, cameras: Sequence[Camera]) -> list[Slot]:
        """Give new cameras to the emptiest workers; one that stays keeps its worker. Returns whose list changed."""
        wanted = {camera.camera_id: camera for camera in cameras if camera.enabled}
        changed: dict[int, Slot] = {}
        for slot in self.slots:
            kept = {name: wanted.pop(name) for name in list(slot.cameras) if name in wanted}
            if kept != slot.cameras:
                slot.cameras = kept
                changed[slot.number] = slot
        for name, camera in wanted.items():
            slot = min(self.slots, key=lambda each: len(each.cameras))
            slot.cameras[name] = camera
            changed[slot.number] = slot
        return list(changed.values())

    async def _keep(self, slot: Slot) -> None:
        short_lives = 0
        while True:
            started_s = time.monotonic()
            cause = await self._live(slot)
            await self._tell_lost(slot, cause)
            lived_s = time.monotonic() - started_s
            short_lives = 0 if lived_s > HEALTHY_AFTER_S else min(short_lives + 1, 8)
            pause_s = 0.0 if not short_lives else min(0.25 * 2.0**short_lives, PAUSE_CAP_S)
            self._metrics.worker_restarts.labels(cause).inc()
            log.error(
                "worker %d %s; its %d cameras start again in %.1f s",
                slot.number,
                cause,
                len(slot.cameras),
                pause_s,
            )
            await asyncio.sleep(pause_s)

    async def _tell_lost(self, slot: Slot, cause: str) -> None:
        """Once, however often a worker ends before it has taken them up."""
        untold = [camera for name, camera in slot.cameras.items() if name not in slot.lost]
        if not untold:
            return
        slot.lost |= {camera.camera_id for camera in untold}
        await tell_lost(
            untold,
            f"the process that watched it {cause}",
            settings=worker_outbox(self._settings, slot.number),
            bus=self._bus,
            board=self.board,
            metrics=self._metrics,
        )

    def _found(self, names: set[str], slot: Slot) -> None:
        """Somebody else tells of them from here on, or nobody need."""
        slot.lost -= names
        for name in names:
            self.board.remove_camera(name)

    async def _live(self, slot: Slot) -> str:
        """One life of a worker: returns why it ended."""
        process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE)
        slot.process = process
        try:
            await _send(process, Start.of(worker_outbox(self._settings, slot.number), slot.lost))
            await _send(process, slot.assignment)
            return await self._attend(slot, process)
        finally:
            slot.process, slot.http_port = None, None
            await asyncio.shield(_end(process))

    async def _attend(self, slot: Slot, process: Process) -> str:
        assert process.stdout is not None
        patience_s = START_WITHIN_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    line = await process.stdout.readline()
            except TimeoutError:
                process.kill()
                await process.wait()
                return "hung"
            if not line:
                # A signal to one that is ending would take its exit status from asyncio, which then warns.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_EVERY_S):
                        await process.wait()
                return "died"
            try:
                beat = Beat.model_validate_json(line)
            except ValidationError:
                log.warning("worker %d wrote something that is not a beat", slot.number)
            else:
                slot.http_port = beat.http_port
                if beat.watching:
                    self._found(slot.lost & slot.cameras.keys(), slot)
            patience_s = HUNG_AFTER_S


async def _send(process: Process | None, message: Start | Assignment) -> None:
    """Hand a message over; a worker that is just dying gets it again with its next life."""
    if process is None or process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):
        process.stdin.write(message.model_dump_json().encode() + b"\n")
        await process.stdin.drain()


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

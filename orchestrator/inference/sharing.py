"""Shares memory with a Triton on the same host, so that pixels need not travel through a socket.

That Triton can open the region under a name that nobody guesses is the proof that both see the same
memory; where it cannot, requests carry their pixels themselves. docs/decisions/0012-shared-memory.md.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from tritonclient.grpc import service_pb2

from orchestrator.errors import InferenceUnavailable
from orchestrator.inference.channel import Channel
from orchestrator.inference.shared_memory import FOLDER, Array, Region, Slot, room_for
from orchestrator.inference.sharing_notes import Note
from orchestrator.inference.status import CallFailed, Status
from orchestrator.metrics import Metrics

log = logging.getLogger(__name__)

Mode = Literal["auto", "on", "off"]

# Triton counts who reads a region since 2.50 (release 24.09). An older one unmaps it under a request, and dies.
COUNTS_READERS = (2, 50)
LARGEST_BYTES = 256 * 1024 * 1024
"""Of a region; fewer slots where they are large."""
REGISTER_S = 0.5
# Nobody waits for a picture any more, and what is not taken back now stays in Triton until the next start.
CLOSE_S = 3.0
RETRY_S = 1.0
RETRY_REFUSED_S = 60.0


class _Refused(Exception):
    """This Triton shares no memory with us."""


class Sharing:
    """Hands out slots of one region at a time, and makes a new one when Triton has lost it.

    Every registration is a new piece of memory: what an old one's readers see is never written to.
    """

    def __init__(
        self,
        channel: Channel,
        mode: Mode,
        *,
        slots: int,
        notes: Path,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is made yet.

        Args:
            channel: to Triton.
            mode: off: never. on: it is a problem where it does not work. auto: it is not.
            slots: requests on their way at once, at most.
            notes: folder of the notes that this and other processes leave for later starts.
            metrics: where it is told which way pixels go.
            clock: monotonic seconds.
        """
        self._channel = channel
        self._mode = mode
        self._slots = slots
        self._folder = notes
        self._metrics = metrics
        self._clock = clock
        self._note: Note | None = None
        self._region: Region | None = None
        self._number = 0
        self._left_behind: set[str] = set()
        self._renewing = False
        self._next_try_s = 0.0
        self._told = ""
        self.problem = "" if mode == "off" else "not tried yet"
        """Why no memory is shared at the moment; empty: it is, or is not wanted."""

    def check(self) -> None:
        """Raises InferenceUnavailable where memory must be shared and is not."""
        if self._mode == "on" and self.problem:
            raise InferenceUnavailable(f"TRITON_SHARED_MEMORY is on, but: {self.problem}")

    async def slot(self, tensors: Iterable[Array]) -> Slot | None:
        """Room for a request's tensors, or None: then they travel in the request itself."""
        if self._mode == "off":
            return None
        size = room_for(tensors)
        region = self._region
        if region is None or region.worn or region.slot_bytes < size:
            region = await self._renewed(size)
        slot = None if region is None or region.slot_bytes < size else region.take()
        if slot is None:
            cause = "unshared" if region is None else "no_slot"
            self._metrics.inference_plain.labels(cause).inc()
        return slot

    def lost(self) -> None:
        """Triton is gone, or does not know the region: the next request makes a new one."""
        if self._region is not None:
            self._left_behind.add(self._region.name)
            self._region = None
            self._metrics.shared_memory.set(0)
            self.problem = "Triton lost the region"

    async def close(self) -> None:
        """Take our regions from Triton. What it still reads stays; the next start takes it."""
        self.lost()
        if self._note is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._unregister_left_behind()
        except (CallFailed, TimeoutError):
            pass  # a Triton that is gone has forgotten them; any other keeps them until the next start
        if not self._left_behind:
            self._note.remove()
        self._note.leave()
        self._note = None

    async def _renewed(self, size: int) -> Region | None:
        """A new region whose slots hold `size` bytes, or the one there is while it cannot be made."""
        if self._renewing or self._clock() < self._next_try_s:
            return self._region
        self._renewing = True
        try:
            async with asyncio.timeout(REGISTER_S):
                await self._renew(size)
        except (CallFailed, OSError, _Refused, TimeoutError) as error:
            self._failed(error)
        finally:
            self._renewing = False
        return self._region

    async def _renew(self, size: int) -> None:
        count = min(self._slots, LARGEST_BYTES // max(size, 1))
        if count == 0:
            raise _Refused(f"a request of {size} bytes is too large for it")
        await self._require_counting()
        if self._note is None:
            await self._clear_after_the_dead()
            self._note = Note.write(self._folder)
        self._number += 1
        region = Region(f"{self._note.prefix}{self._number}", size, count)
        try:
            self._left_behind.add(region.name)  # until it is known to be ours
            await self._channel.ask(
                "SystemSharedMemoryRegister",
                service_pb2.SystemSharedMemoryRegisterRequest(
                    name=region.name, key=f"/{region.name}", byte_size=region.total_bytes
                ),
                service_pb2.SystemSharedMemoryRegisterResponse,
            )
        finally:
            region.unlink()
        self.lost()
        self._left_behind.discard(region.name)
        self._region = region
        self._tell(region)
        await self._unregister_left_behind()

    async def _require_counting(self) -> None:
        answer = await self._channel.ask(
            "ServerMetadata",
            service_pb2.ServerMetadataRequest(),
            service_pb2.ServerMetadataResponse,
        )
        version = re.match(r"(\d+)\.(\d+)", answer.version)
        if version is None or (int(version[1]), int(version[2])) < COUNTS_READERS:
            raise _Refused(f"Triton {answer.version} does not count who reads shared memory")

    async def _clear_after_the_dead(self) -> None:
        for note in Note.of_the_dead(self._folder):
            for name in FOLDER.glob(f"{note.prefix}*"):  # killed while it registered
                name.unlink(missing_ok=True)
            known = await self._known_to_triton(note.prefix)
            if all([await self._unregistered(name) for name in known]):
                note.remove()

    async def _unregister_left_behind(self) -> None:
        for name in tuple(self._left_behind):
            if await self._unregistered(name):
                self._left_behind.discard(name)

    async def _known_to_triton(self, prefix: str) -> list[str]:
        answer = await self._channel.ask(
            "SystemSharedMemoryStatus",
            service_pb2.SystemSharedMemoryStatusRequest(),
            service_pb2.SystemSharedMemoryStatusResponse,
        )
        return [name for name in answer.regions if name.startswith(prefix)]

    async def _unregistered(self, name: str) -> bool:
        """Whether Triton holds the region no more; it refuses while a request reads it."""
        try:
            await self._channel.ask(
                "SystemSharedMemoryUnregister",
                service_pb2.SystemSharedMemoryUnregisterRequest(name=name),
                service_pb2.SystemSharedMemoryUnregisterResponse,
            )
        except CallFailed as error:
            if _is_unavailable(error):
                raise
            return error.status is Status.NOT_FOUND
        return True

    def _tell(self, region: Region) -> None:
        self.problem = self._told = ""
        self._metrics.shared_memory.set(1)
        log.info(
            "pixels go to Triton through shared memory: %d slots of %d bytes",
            region.count,
            region.slot_bytes,
        )

    def _failed(self, error: Exception) -> None:
        away = isinstance(error, TimeoutError) or _is_unavailable(error)
        self._next_try_s = self._clock() + (RETRY_S if away else RETRY_REFUSED_S)
        reason = _reason(error)
        if self._region is None:
            self.problem = reason
        if not away and reason != self._told:
            self._told = reason
            level = logging.WARNING if self._mode == "on" else logging.INFO
            log.log(level, "pixels go to Triton over gRPC, not through shared memory: %s", reason)


def _is_unavailable(error: Exception) -> bool:
    return isinstance(error, CallFailed) and error.status is Status.UNAVAILABLE


def _reason(error: Exception) -> str:
    if isinstance(error, CallFailed):
        return error.details
    return str(error) or "Triton did not answer in time"

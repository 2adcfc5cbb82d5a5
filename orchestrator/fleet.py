"""Keeps one task a camera, and follows the list of cameras as it changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from orchestrator.camera import Camera
from orchestrator.metrics import Metrics

log = logging.getLogger(__name__)

# After a bug in one camera's path: long enough not to fill the log, short enough to see again soon.
PAUSE_AFTER_BUG_S = 5.0


class Fleet:
    """Starts, restarts and stops cameras; one that is unchanged is never touched."""

    def __init__(
        self,
        watch: Callable[[Camera], Awaitable[None]],
        *,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`watch` follows one camera until cancelled, or until its file has ended."""
        self._watch = watch
        self._metrics = metrics
        self._sleep = sleep
        self._tasks: dict[str, tuple[Camera, asyncio.Task[None]]] = {}

    async def run(self, lists: AsyncIterator[tuple[Camera, ...]]) -> None:
        """Follow each new list of cameras; returns when there will be no more and every camera has ended."""
        async with asyncio.TaskGroup() as tasks:
            async for cameras in lists:
                await self._reconcile({c.camera_id: c for c in cameras if c.enabled}, tasks)

    async def _reconcile(self, wanted: dict[str, Camera], tasks: asyncio.TaskGroup) -> None:
        for camera_id, (camera, task) in list(self._tasks.items()):
            if wanted.get(camera_id) != camera:
                task.cancel()
                await asyncio.wait([task])
                del self._tasks[camera_id]
                log.info("camera %s: stopped", camera_id)
        for camera_id, camera in wanted.items():
            if camera_id not in self._tasks:
                task = tasks.create_task(self._guard(camera), name=f"camera:{camera_id}")
                self._tasks[camera_id] = (camera, task)
                log.info("camera %s: watching %s", camera_id, camera.address)

    async def _guard(self, camera: Camera) -> None:
        """Contain a bug: one camera's bad input must not blind the others (decision 0008)."""
        while True:
            try:
                await self._watch(camera)
                return
            except Exception as bug:  # counted, logged with its traceback, and tried again
                self._metrics.camera_losses.labels(camera.camera_id, type(bug).__name__).inc()
                log.exception("camera %s: a bug stopped its path", camera.camera_id)
                if _is_cancelled():  # a bug on the way out: whoever removed the camera waits for us
                    return
                await self._sleep(PAUSE_AFTER_BUG_S)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

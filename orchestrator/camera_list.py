"""Follows cameras.yaml: each time it changes, the new list, without stopping for a mistake in it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from orchestrator.camera import Camera
from orchestrator.configuring.cameras_file import load_cameras
from orchestrator.errors import SettingsError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5


async def follow_cameras(
    path: Path, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncIterator[tuple[Camera, ...]]:
    """Yield the list as it is, and again after each change, for ever.

    The first reading raises SettingsError; later a file with a mistake is told in the log, and the
    cameras stay as they are until it is mended.
    """
    seen = _fingerprint(path)
    yield load_cameras(path)
    while True:
        await sleep(LOOK_EVERY_S)
        now = _fingerprint(path)
        if now == seen:
            continue
        seen = now
        try:
            cameras = load_cameras(path)
        except SettingsError as error:
            log.error("%s; the cameras stay as they were", error)
            continue
        log.info("%s changed: %d cameras", path, len(cameras))
        yield cameras


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size

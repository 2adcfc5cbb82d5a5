"""Every camera is opened and must deliver one frame."""

import asyncio
import stat
import time
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from orchestrator.camera import Camera
from orchestrator.capture.stream import open_frames
from orchestrator.checking.finding import Finding
from orchestrator.configuring.cameras_file import load_cameras
from orchestrator.errors import CameraError, SettingsError
from orchestrator.ledger import CameraLedger
from orchestrator.metrics import Metrics
from orchestrator.settings import CaptureSettings, Settings


async def cameras(settings: Settings) -> list[Finding]:
    """One finding a camera, all at once but no more than CAPTURE_MAX_OPENING together."""
    path = settings.cameras_file
    try:
        listed = load_cameras(path)
    except SettingsError as error:
        return [Finding.failed("cameras", str(error), "")]
    if not listed:
        return [Finding.failed("cameras", f"{path} names none", "`fess cameras add NAME ADDRESS`")]
    at_once = asyncio.Semaphore(settings.capture.max_opening)
    metrics = Metrics(CollectorRegistry())
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(_camera(camera, settings.capture, metrics, at_once))
            for camera in listed
        ]
    return [*_readable_by_others(settings, listed), *(task.result() for task in asked)]


async def _camera(
    camera: Camera, settings: CaptureSettings, metrics: Metrics, at_once: asyncio.Semaphore
) -> Finding:
    part = f"camera {camera.camera_id}"
    if not camera.enabled:
        return Finding.ok(part, "not watched (enabled: false)")
    async with at_once:
        began_s = time.monotonic()
        limit_s = settings.connect_timeout + settings.read_timeout + 2.0
        try:
            async with (
                asyncio.timeout(limit_s),
                open_frames(
                    camera, settings=settings, ledger=CameraLedger(), metrics=metrics
                ) as frames,
            ):
                frame = await anext(frames, None)
        except TimeoutError:
            what = f"{camera.address} sent no whole picture within {limit_s:g} s"
            return Finding.failed(
                part, what, "shorten its keyframe interval, or look at the network"
            )
        except CameraError as error:
            what, _, mend = error.reason.partition("; ")
            return Finding.failed(part, what, mend)
    if frame is None:
        return Finding.failed(part, f"{camera.address} holds no picture", "name another file")
    size = f"{frame.picture.width} x {frame.picture.height}"
    return Finding.ok(part, f"{size}, first picture after {time.monotonic() - began_s:.1f} s")


def _readable_by_others(settings: Settings, listed: tuple[Camera, ...]) -> list[Finding]:
    path = settings.cameras_file
    mode = stat.S_IMODE(path.stat().st_mode)
    secret = any(_holds_password(camera) for camera in listed)
    if not secret or not mode & 0o077:
        return []
    what = f"{path} holds passwords and can be read by others (mode {mode:o})"
    return [Finding.warning("cameras", what, f"chmod 600 {path}")]


def _holds_password(camera: Camera) -> bool:
    return urlsplit(camera.url.get_secret_value()).password is not None

"""A real RTSP server for the demo, where GStreamer's is installed: serves clips in an endless loop."""

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.errors import ServerError

SCRIPT = Path(__file__).with_name("rtsp_server.py")
# The bindings come with the system's own Python, not with the virtual environment.
SYSTEM_PYTHON = Path("/usr/bin/python3")
PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "missing = [n for n in ('h264parse', 'rtph264pay', 'parsebin', 'qtdemux') if not Gst.ElementFactory.find(n)];"
    "raise SystemExit('GStreamer lacks ' + ', '.join(missing) if missing else 0)"
)
MEND = "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{good,bad,ugly} gstreamer1.0-libav"
START_S = 20.0


async def rtsp_available() -> bool:
    """Whether this machine can serve RTSP."""
    if not SYSTEM_PYTHON.exists():
        return False
    probe = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON, "-c", PROBE, stdout=DEVNULL, stderr=DEVNULL
    )
    return await probe.wait() == 0


@asynccontextmanager
async def serve_rtsp(clips: Mapping[str, Path]) -> AsyncIterator[str]:
    """Serve each clip under its name; yields the address below which the names are. Raises ServerError.

    The server ends when its standard input closes, and so never outlives us.
    """
    mounts = [f"{name}={path}" for name, path in clips.items()]
    process = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON, SCRIPT, *mounts, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        if not line.strip().isdigit():
            raise ServerError(f"the RTSP server did not start; try: {MEND}")
        yield f"rtsp://127.0.0.1:{int(line)}"
    except TimeoutError as error:
        raise ServerError(f"the RTSP server said nothing for {START_S:g} s") from error
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()

"""The machine: room and rights on the disk, the port of the page, who may see it, variables that look misspelt."""

import errno
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import psutil

from orchestrator.access import Access
from orchestrator.checking.finding import Finding
from orchestrator.configuring.setting_types import is_loopback
from orchestrator.configuring.variables import misspelt, variables_of
from orchestrator.errors import SettingsError
from orchestrator.health import system_health
from orchestrator.settings import HttpSettings, Settings

GIGABYTE = 1e9
FULL = (errno.ENOSPC, errno.EDQUOT)


def environment(environ: Mapping[str, str]) -> list[Finding]:
    """Variables that nothing reads and that are almost the name of a setting."""
    return [
        Finding.warning("environment", f"{name} is not a setting", f"did you mean {meant}?")
        for name, meant in misspelt(variables_of(Settings), environ)
    ]


def disk(settings: Settings) -> list[Finding]:
    """One finding a folder that is written to."""
    found = []
    for name, folder in (
        ("STATE_DIR", settings.state_dir),
        ("EVENTS_OUTBOX", settings.events.outbox),
    ):
        found.append(_folder(f"disk, {name}", folder, settings))
    return found


def _folder(part: str, folder: Path, settings: Settings) -> Finding:
    nearest = next(
        each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()
    )
    try:
        # A name that is gone at once: it proves the right to write, and room for at least a little.
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        reason = (error.strerror or "it cannot be written").lower()
        mend = "free the disk" if error.errno in FULL else "make it writable"
        return Finding.failed(part, f"{folder}: {reason}", f"{mend}, or name another folder")
    system = system_health(folder)
    if system.disk_free_gb < 1.0:
        what = f"{folder}: {system.disk_free_gb:.2f} GB are free"
        return Finding.failed(part, what, "make room: less than 1 GB counts as full")
    outbox_gb = settings.events.outbox_max_bytes / GIGABYTE
    if system.disk_free_gb < outbox_gb:
        what = (
            f"{folder}: {system.disk_free_gb:.2f} GB are free, the outbox may take {outbox_gb:.2f}"
        )
        return Finding.warning(part, what, "make room, or lower EVENTS_OUTBOX_MAX_BYTES")
    return Finding.ok(part, f"{folder}: writable, {system.disk_free_gb:.0f} GB free")


def memory() -> Finding:
    free_mb = psutil.virtual_memory().available / 1e6
    if free_mb < 500:
        return Finding.warning("memory", f"{free_mb:.0f} MB are free", "close other programs")
    return Finding.ok("memory", f"{free_mb / 1000:.1f} GB free")


def access(http: HttpSettings) -> Finding:
    """Whether the page would let strangers in."""
    try:
        Access(http)
    except SettingsError as error:
        return Finding.of_error("access", error)
    if is_loopback(http.host):
        return Finding.ok("access", "the page can be seen from this machine only")
    return Finding.ok("access", "the page can be seen by those who have HTTP_TOKEN")


async def port(http: HttpSettings) -> Finding:
    """Whether the page's port is free, or held by a `fess run` that answers."""
    place = f"{http.host}:{http.port}"
    if http.port == 0:
        return Finding.ok("port", "any free one is taken (HTTP_PORT=0)")
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((http.host, http.port))
    except OSError as error:
        if await _is_ours(http):
            return Finding.ok("port", f"{place} is held by a `fess run` that answers")
        reason = os.strerror(error.errno).lower() if error.errno else "it cannot be used"
        mend = "stop the program that holds it, or set HTTP_HOST and HTTP_PORT to what is free"
        return Finding.failed("port", f"{place}: {reason}", mend)
    return Finding.ok("port", f"{place} is free")


async def _is_ours(http: HttpSettings) -> bool:
    host = "127.0.0.1" if http.host in ("0.0.0.0", "") else http.host.replace("::", "::1", 1)
    url = f"http://[{host}]" if ":" in host else f"http://{host}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3.0)) as client,
            client.get(f"{url}:{http.port}/health") as response,
        ):
            document = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
    return isinstance(document, dict) and {"status", "components"} <= document.keys()

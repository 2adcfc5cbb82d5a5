"""One file over HTTP: what is there already is kept, the rest is asked for, and only the right bytes count."""

import asyncio
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from rich.progress import Progress, TaskID

from export.manifest import Download, Source
from orchestrator.errors import ModelError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
ATTEMPTS = 3
PAUSE_S = 0.5
LARGEST_BYTES = 2**31 - 1
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=30.0)


class Incomplete(Exception):
    """A transfer ended early; the next attempt asks for what is missing."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Where the bytes of one file are shown."""

    progress: Progress
    task: TaskID

    def at(self, done: int, total: int | None) -> None:
        self.progress.update(self.task, completed=done, total=total)


async def download(
    item: Download, partial: Path, session: aiohttp.ClientSession, meter: Meter
) -> None:
    """Fill `partial` with the file from the first of its sources that gives the right bytes.

    Raises:
        ModelError: with the reason of every source.
        OSError: the file cannot be written.
    """
    reasons: list[str] = []
    for source in item.sources:
        if source.sha256 != item.sha256 or source.member is not None:
            why = f" ({source.note})" if source.note else ""
            reasons.append(f"{source.url} has no verified digest{why}")
            continue
        try:
            await _from_source(item, source, partial, session, meter)
        except ModelError as error:
            reasons.append(str(error))
        else:
            return
    if not item.sources:
        reasons.append(f"no public address of this file is known; its origin is {item.homepage}")
    raise ModelError(f"{item.file}: cannot be fetched: " + "; ".join(reasons))


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _from_source(
    item: Download, source: Source, partial: Path, session: aiohttp.ClientSession, meter: Meter
) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        await asyncio.sleep(attempt * PAUSE_S)
        resumed = partial.exists() and partial.stat().st_size > 0
        try:
            await _transfer(item, source.url, partial, session, meter)
        except (aiohttp.ClientError, TimeoutError, Incomplete) as error:
            reason = str(error) or "no answer in time"
            log.info("%s: attempt %d: %s", source.url, attempt + 1, reason)
            continue
        digest = await asyncio.to_thread(digest_of, partial)
        if digest == item.sha256:
            return
        partial.unlink()
        reason = f"wrong digest, expected SHA-256 {item.sha256}, found {digest}"
        if not resumed:  # a fresh transfer that is wrong will be wrong again
            break
    raise ModelError(f"{source.url}: {reason}")


async def _transfer(
    item: Download, url: str, partial: Path, session: aiohttp.ClientSession, meter: Meter
) -> None:
    """Write what the address still has to give. Raises Incomplete, aiohttp.ClientError, TimeoutError, OSError."""
    done = partial.stat().st_size if partial.exists() else 0
    # A digest of compressed bytes would be another one, and so would the offset to go on from.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    async with session.get(url, headers=headers) as response:
        if response.status == 416:  # nothing behind what we have: it is all, or it is wrong
            return
        response.raise_for_status()
        if done and response.status != 206:
            done = 0  # the server does not resume
        total = done + response.content_length if response.content_length is not None else item.size
        with partial.open("ab" if done else "wb") as file:
            await _receive(response, file, done, total, item.size or LARGEST_BYTES, meter)


async def _receive(
    response: aiohttp.ClientResponse,
    file: BinaryIO,
    done: int,
    total: int | None,
    limit: int,
    meter: Meter,
) -> None:
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        done += len(chunk)
        if done > limit:
            file.truncate(0)
            raise Incomplete(f"gives more than the {limit} bytes it should have")
        file.write(chunk)
        meter.at(done, total)
    file.flush()
    os.fsync(file.fileno())
    if total is not None and done < total:
        raise Incomplete(f"broke off after {done} of {total} bytes")

"""Files from a mirror folder or their public addresses into the store, each under its final name only when verified.

store/<file>            verified
store/.<file>.part      what has come so far; the next attempt asks for the rest of it
store/.lock             held while one process fetches
"""

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from export.manifest import Download, Source
from orchestrator.errors import ModelError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
ATTEMPTS = 3
PAUSE_S = 0.5
LARGEST_BYTES = 2**31 - 1
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=30.0)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Incomplete(Exception):
    """A transfer ended early; what came is kept and the rest can be asked for."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Where the bytes of one file are shown."""

    progress: Progress
    task: TaskID

    def at(self, done: int, total: int | None) -> None:
        self.progress.update(self.task, completed=done, total=total)


async def fetch(
    items: Sequence[Download], store: Path, *, mirror: Path | None, mend: str, console: Console
) -> tuple[Path, ...]:
    """Bring every file into the store and return their paths, in the same order.

    Args:
        items: what to fetch; a file that is there and verified costs only its digest.
        store: folder for the files; made if it is missing.
        mirror: folder with the files and a SHA256SUMS, used instead of the public addresses.
        mend: what the operator can do when a file cannot be had; ends every error.
        console: shows licences and progress.

    Raises:
        ModelError: for the first file that cannot be had, with its name, address and the mend.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{store}: cannot be made: {error.strerror}") from error
    missing = [item for item in items if not _verified(store / item.file, item)]
    if missing:
        with _progress(console) as progress:
            async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session:
                async with _alone(store / ".lock"):
                    for item in missing:
                        meter = _announced(item, progress)
                        await _bring(item, store, mirror, mend, session, meter)
    return tuple(store / item.file for item in items)


def _announced(item: Download, progress: Progress) -> Meter:
    words = f"{item.file}  licence {item.licence}  {item.homepage}"
    progress.console.print(words, soft_wrap=True, highlight=False)
    return Meter(progress, progress.add_task(item.file, total=item.size))


async def _bring(
    item: Download,
    store: Path,
    mirror: Path | None,
    mend: str,
    session: aiohttp.ClientSession,
    meter: Meter,
) -> None:
    target, partial = store / item.file, store / f".{item.file}.part"
    if _verified(target, item):  # another process was faster
        return
    item.require_sha256()
    try:
        if mirror is not None:
            await asyncio.to_thread(_copy, item, mirror, partial)
        else:
            await _download(item, partial, session, meter)
        partial.replace(target)
    except OSError as error:
        if error.errno in _FULL:
            partial.unlink(missing_ok=True)
            raise ModelError(
                f"{target}: the disk is full; free some space and try again"
            ) from error
        raise ModelError(f"{target}: cannot be written: {error}") from error
    except ModelError as error:
        raise ModelError(f"{error}; {mend}") from error


def _verified(path: Path, item: Download) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if item.size is not None and path.stat().st_size != item.size:
        return False
    return item.sha256 is not None and _digest(path) == item.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(item: Download, mirror: Path, partial: Path) -> None:
    source = mirror / item.file
    listed = checksums(mirror).get(item.file)
    if listed is None:
        raise ModelError(f"{item.file}: not listed in {mirror / 'SHA256SUMS'}")
    if not source.is_file():
        raise ModelError(f"{item.file}: listed in {mirror / 'SHA256SUMS'}, but not in the folder")
    shutil.copyfile(source, partial)
    digest = _digest(partial)
    if digest != listed or digest != item.sha256:
        partial.unlink()
        whose = "the mirror's own SHA256SUMS" if digest != listed else "the manifest"
        expected = listed if digest != listed else item.sha256
        raise ModelError(
            f"{source}: does not match {whose}: expected SHA-256 {expected}, found {digest}"
        )


def checksums(mirror: Path) -> dict[str, str]:
    """The mirror's list: digest by file name. Raises ModelError where there is none."""
    path = mirror / "SHA256SUMS"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"mirror {mirror}: its SHA256SUMS cannot be read: {error}") from error
    # `sha256sum` writes "digest  name", or "digest *name" for binary mode.
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[1].lstrip("*"): pair[0].lower() for pair in pairs if len(pair) == 2}


async def _download(
    item: Download, partial: Path, session: aiohttp.ClientSession, meter: Meter
) -> None:
    reasons: list[str] = []
    for source in item.sources:
        if source.sha256 != item.sha256 or source.member is not None:
            reasons.append(f"{source.url} has no verified digest ({source.note or 'unverified'})")
            continue
        try:
            await _from_source(item, source, partial, session, meter)
        except ModelError as error:
            reasons.append(str(error))
        else:
            return
    if not item.sources:
        reasons.append(f"no public address of this file is known, its origin is {item.homepage}")
    raise ModelError(f"{item.file}: cannot be fetched: " + "; ".join(reasons))


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
            reason = str(error) or type(error).__name__
            log.warning("%s: %s; what has come is kept", source.url, reason)
            continue
        digest = await asyncio.to_thread(_digest, partial)
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
    headers = {"Range": f"bytes={done}-", "Accept-Encoding": "identity"} if done else {}
    async with session.get(url, headers=headers) as response:
        if response.status == 416:  # we have more than there is, or all of it
            if item.size is None or done != item.size:
                partial.unlink()
                raise Incomplete("the part on disk did not fit; it is fetched anew")
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
            raise Incomplete(f"larger than the {limit} bytes it should have")
        file.write(chunk)
        meter.at(done, total)
    file.flush()
    os.fsync(file.fileno())
    if total is not None and done < total:
        raise Incomplete(f"broke off after {done} of {total} bytes")


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[None]:
    """Wait until no other process fetches into the same store."""
    with path.open("wb") as lock:
        while not _locked(lock):  # noqa: ASYNC110  # the kernel tells nobody when a lock is free
            await asyncio.sleep(0.2)
        yield


def _locked(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress

"""Files from a mirror folder or their public addresses into the store, each under its final name only when verified.

store/<file>            verified
store/.<file>.part      what has come so far; the next attempt asks for the rest of it
store/.lock             held while one process fetches
"""

import asyncio
import errno
import fcntl
import shutil
from collections import defaultdict
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
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from export.manifest import Download
from export.transfer import TIMEOUT, Meter, digest_of, download
from orchestrator.errors import ModelError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


async def fetch(
    items: Sequence[Download], store: Path, *, mirror: Path | None, mend: str, console: Console
) -> tuple[Path, ...]:
    """Bring every file into the store and return their paths, in the same order.

    Args:
        items: what to fetch; a file that is there and verified costs only its digest.
        store: folder for the files; made if it is missing.
        mirror: folder with the files and a SHA256SUMS, used instead of the public addresses.
        mend: what the operator can do when a file cannot be had; ends those errors.
        console: shows licences and progress.

    Raises:
        ModelError: for every file that cannot be had, a line each with its name and address, and the mend.
    """
    missing = [item for item in items if not verified(store / item.file, item)]
    if missing:
        _make(store)
        with _progress(console) as progress:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session,
                _alone(store / ".lock"),
                asyncio.TaskGroup() as tasks,
            ):
                brought = [
                    tasks.create_task(
                        _bring(item, store, mirror, mend, session, _announced(item, progress))
                    )
                    for item in missing
                ]
        _require(list(filter(None, (task.result() for task in brought))))
    return tuple(store / item.file for item in items)


def verified(path: Path, item: Download) -> bool:
    """Whether the file is there, is itself and no link, and has the digest of the manifest."""
    if path.is_symlink() or not path.is_file():
        return False
    if item.size is not None and path.stat().st_size != item.size:
        return False
    return item.sha256 is not None and digest_of(path) == item.sha256


def checksums(mirror: Path) -> dict[str, str]:
    """The mirror's list: digest by file name. Raises ModelError where there is none."""
    path = mirror / "SHA256SUMS"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"mirror {mirror}: its SHA256SUMS cannot be read: {words}") from error
    # `sha256sum` writes "digest  name", or "digest *name" for binary mode.
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[1].lstrip("*"): pair[0].lower() for pair in pairs if len(pair) == 2}


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    mend: str


def _require(failures: Sequence[_Failure]) -> None:
    """Raise ModelError for all of them, what is mended alike together."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for failure in failures:
        reasons[failure.mend].append(failure.reason)
    if reasons:
        raise ModelError("\n".join("\n".join(each) + f"; {mend}" for mend, each in reasons.items()))


async def _bring(
    item: Download,
    store: Path,
    mirror: Path | None,
    mend: str,
    session: aiohttp.ClientSession,
    meter: Meter,
) -> _Failure | None:
    target, partial = store / item.file, store / f".{item.file}.part"
    if verified(target, item):  # another process was faster
        return None
    try:
        item.require_sha256()
        if mirror is not None:
            await asyncio.to_thread(_copy, item, mirror, partial)
        else:
            await download(item, partial, session, meter)
        partial.replace(target)
    except OSError as error:
        if error.errno in _FULL:
            partial.unlink(missing_ok=True)
            return _Failure(f"{target}: the disk is full", "free some space and try again")
        return _Failure(f"{target}: cannot be written: {error}", "let this user write there")
    except ModelError as error:
        return _Failure(str(error), mend)
    return None


def _copy(item: Download, mirror: Path, partial: Path) -> None:
    source = mirror / item.file
    try:
        listed = checksums(mirror).get(item.file)
    except ModelError as error:
        raise ModelError(f"{item.file}: {error}") from error
    if listed is None:
        raise ModelError(f"{item.file}: not listed in {mirror / 'SHA256SUMS'}")
    if not source.is_file():
        raise ModelError(f"{item.file}: listed in {mirror / 'SHA256SUMS'}, but not in the folder")
    shutil.copyfile(source, partial)
    digest = digest_of(partial)
    if digest != listed or digest != item.sha256:
        partial.unlink()
        whose = "the mirror's own SHA256SUMS" if digest != listed else "the manifest"
        expected = listed if digest != listed else item.sha256
        raise ModelError(
            f"{source}: does not match {whose}: expected SHA-256 {expected}, found {digest}"
        )


def _make(store: Path) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{store}: cannot be made: {error.strerror}") from error


def _announced(item: Download, progress: Progress) -> Meter:
    words = f"{item.file}  licence {item.licence}  {item.homepage}"
    progress.console.print(words, soft_wrap=True, highlight=False)
    return Meter(progress, progress.add_task(item.file, total=item.size))


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

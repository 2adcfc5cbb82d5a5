"""Versions of a model beside each other: a new one lands whole, the old ones stay, and one line says which is served.

A number stands for the same weights for ever: clients tell by it which labels and digest an answer has.

object_detector/config.pbtxt    names the version that is served; replacing it is the moment of change
object_detector/2/config.pbtxt  what it was, or will be again, when that version is served
object_detector/.served         the versions that were served one after the other, for the way back
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from export import atomic
from orchestrator.errors import ModelError

CONFIG = "config.pbtxt"
HIGHEST = ".highest-version"
SERVED = ".served"
NOTE = "provenance.json"
KEPT = 50  # steps of the way back
_POLICY = re.compile(r"^version_policy\b.*\n", re.M)
_SERVED = re.compile(
    r"^version_policy\s*:?\s*\{\s*specific\s*:?\s*\{\s*versions\s*:\s*\[\s*(\d+)\s*\]", re.M
)
_NAME = re.compile(r'^name: "[^"]*"\n', re.M)
ATTEMPTS = 100
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


def present(folder: Path) -> list[int]:
    """Versions that are in a model's folder, oldest first."""
    if not folder.is_dir():
        return []
    numbers = [
        int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()
    ]
    return sorted(number for number in numbers if number > 0)


def served(folder: Path) -> int | None:
    """The version that Triton serves: the one its configuration names, else the newest with a model."""
    try:
        named = _SERVED.search((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        named = None
    if named is not None:
        return int(named[1])
    whole = [number for number in present(folder) if (folder / str(number) / "model.onnx").exists()]
    return whole[-1] if whole else None


def unreadable(folder: Path) -> str | None:
    """Why Triton will read nothing of a folder, if it will not: one link to nothing is enough."""
    lost = sorted(
        each for each in folder.iterdir() if each.is_symlink() and not os.path.exists(each)
    )
    return (
        f"{lost[0]} is a link to nothing, and Triton then reads nothing of {folder}; remove it"
        if lost
        else None
    )


def pinned(config: str, version: int) -> str:
    """The configuration, naming the one version that it describes."""
    line = f"version_policy: {{ specific: {{ versions: [ {version} ] }} }}\n"
    plain = _POLICY.sub("", config)
    # Beside the name, where it has one; protobuf's text does not mind.
    found = _NAME.search(plain)
    at = found.end() if found else 0
    return plain[:at] + line + plain[at:]


def land(folder: Path, files: Mapping[str, bytes]) -> int:
    """Write a new version whole and return its number. It is not served yet. Raises ModelError."""
    # A configuration that names no version would mean the new one as soon as that is there.
    _pin(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Begins with a dot: Triton looks at folders whose name is a number.
        partial = Path(tempfile.mkdtemp(prefix=".landing-", dir=folder))
        try:
            for name, content in files.items():
                atomic.write(partial / name, content)
            partial.chmod(0o755)
            _sync(partial)
            number = _renamed(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _sync(folder)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written: {error.strerror}") from error
    return number


def serve(folder: Path, version: int, config: str) -> None:
    """Make the version the one that Triton serves. What was served keeps its configuration, tuned as it is.

    Raises:
        ModelError: nothing was changed.
    """
    before = served(folder)
    if before is not None and (folder / str(before)).is_dir():
        now = _text(folder / CONFIG)
        if now is not None:
            atomic.write(folder / str(before) / CONFIG, pinned(now, before).encode())
    text = pinned(config, version).encode()
    atomic.write(folder / str(version) / CONFIG, text)
    past = _past(folder, before)
    came = past if before in (None, version) else [*past, before]
    # Going back is a step back on the way that led here: a refused version is not what served before.
    way = past if past[-1:] == [version] else [*came, version]
    atomic.write(folder / SERVED, " ".join(map(str, way[-KEPT:])).encode())
    atomic.write(folder / CONFIG, text)


def served_before(folder: Path) -> int | None:
    """The version that served before the one that does, else the next lower; None where there is none."""
    now = served(folder)
    if now is None:
        return None
    ready = [number for number in present(folder) if _ready(folder / str(number))]
    ready = [number for number in ready if (folder / str(number) / NOTE).is_file()]
    known = [number for number in _past(folder, now) if number in ready and number != now]
    lower = [number for number in ready if number < now]
    return next(reversed(known or lower), None)


def roll_back(folder: Path, to: int | None = None) -> tuple[int, int]:
    """Serve an older version again: the one that served before, or the one that is named.

    Returns what was and what is served.

    Raises:
        ModelError: there is no such version; nothing was changed.
    """
    now, wanted = older(folder, to)
    config = _text(folder / str(wanted) / CONFIG)
    if config is None:
        raise ModelError(f"{folder / str(wanted) / CONFIG}: cannot be read")
    serve(folder, wanted, config)
    return now, wanted


def older(folder: Path, to: int | None = None) -> tuple[int, int]:
    """The version that is served, and the one to go back to. Raises ModelError where there is none."""
    now = served(folder)
    if now is None:
        raise ModelError(f"{folder}: serves nothing, so there is nothing to go back from")
    wanted = served_before(folder) if to is None else to
    ready = [number for number in present(folder) if _ready(folder / str(number))]
    if wanted is None or wanted not in ready:
        words = f"version {to}" if to is not None else f"version before {now}"
        raise ModelError(
            f"{folder}: has no {words} with its model and configuration; it has {ready or 'none'}"
        )
    if wanted == now:
        raise ModelError(f"{folder}: version {now} is served already")
    return now, wanted


def _past(folder: Path, now: int | None) -> list[int]:
    """What served before, in order, whatever was named by hand since, or broke off once the record was written."""
    words = (_text(folder / SERVED) or "").split()
    way = [int(word) for word in words if word.isdecimal()]
    for steps in (1, 2):
        if now in way[-steps:]:
            return way[:-steps]
    return way


def _ready(version: Path) -> bool:
    return (version / "model.onnx").is_file() and (version / CONFIG).is_file()


def _pin(folder: Path) -> None:
    now, config = served(folder), _text(folder / CONFIG)
    if now is not None and config is not None and pinned(config, now) != config:
        atomic.write(folder / CONFIG, pinned(config, now).encode())


def _renamed(partial: Path, folder: Path) -> int:
    for _ in range(ATTEMPTS):
        taken = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        number = max(*taken, _highest(folder), 0) + 1
        try:
            partial.rename(folder / str(number))
        except OSError as error:
            if error.errno not in _TAKEN:  # by another program, a moment ago
                raise
        else:
            atomic.write(folder / HIGHEST, str(number).encode())
            return number
    raise ModelError(f"{folder}: another program keeps taking the next version's name")


def _highest(folder: Path) -> int:
    """The highest number that ever was: deleting a version does not free its number for other weights."""
    text = (_text(folder / HIGHEST) or "").strip()
    return int(text) if text.isdecimal() else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _sync(folder: Path) -> None:
    """Names are safe on disk only when their folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

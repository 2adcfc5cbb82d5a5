"""Events on disk, in order, below a bound; what does not fit any more costs the least important first.

Each event type has a lane of files, `<lane>-<sequence of its first entry>.spool`, written at the end
and read from the beginning. A file is deleted once all of it was acknowledged, so a crash repeats at
most one file a lane. Methods block on the disk: the outbox calls them in a thread. The attributes
`waiting`, `size_bytes`, `first` and `oldest_s` may be read at any time from any thread.
"""

import fcntl
import os
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eventbus.journal import MAGIC, Entry, entries, frame
from eventbus.topics import PRIORITY, Topics

_FILE_BYTES = 512 * 1024
_SUFFIX = ".spool"


@dataclass(slots=True)
class _File:
    """growing: written by this process, with nothing torn at its end."""

    path: Path
    size: int
    count: int
    first: int
    last: int
    oldest_s: float
    growing: bool = False


@dataclass(slots=True)
class _Lane:
    """One event type. `loaded` is what is still to be taken of the first file, once that was read."""

    name: str
    files: deque[_File] = field(default_factory=deque)
    loaded: deque[Entry] | None = None

    @property
    def waiting(self) -> int:
        on_disk = sum(file.count for file in self.files)
        return on_disk if self.loaded is None else on_disk - self.files[0].count + len(self.loaded)

    @property
    def first(self) -> int | None:
        if self.loaded:
            return self.loaded[0].sequence
        return self.files[0].first if self.files else None

    @property
    def oldest_s(self) -> float | None:
        if self.loaded:
            return self.loaded[0].record.timestamp_s
        return self.files[0].oldest_s if self.files else None


class Spool:
    def __init__(self, directory: Path, max_bytes: int, topics: Topics) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._topics = topics
        self._lanes = {kind: _Lane(kind.replace(".", "-")) for kind in PRIORITY}
        self._mutex = threading.RLock()
        self._lock_fd: int | None = None
        self._damaged: Counter[str] = Counter()
        self._out = 0  # taken and not settled
        self.file_bytes = max(2048, min(_FILE_BYTES, max_bytes // 16))
        self.waiting = 0
        self.size_bytes = 0
        self.first: int | None = None
        self.oldest_s: float | None = None

    def open(self) -> int:
        """Take the folder and see what it holds; returns the highest sequence in it.

        Raises OSError, BlockingIOError where another process has the folder.
        """
        with self._mutex:
            self._directory.mkdir(parents=True, exist_ok=True)
            if self._lock_fd is None:
                fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    os.close(fd)
                    if isinstance(error, BlockingIOError):
                        error.strerror = (
                            f"{self._directory} is another process's; give each a folder of its own"
                        )
                    raise
                self._lock_fd = fd
            for kind, lane in self._lanes.items():
                self._scan(kind, lane)
            self._publish_figures()
            return max(
                (lane.files[-1].last for lane in self._lanes.values() if lane.files), default=0
            )

    def close(self) -> None:
        """Let go of the folder; what is in it stays."""
        with self._mutex:
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    def append(self, kind: str, batch: Sequence[Entry], *, sync: bool = True) -> Counter[str]:
        """Write entries of one event type; returns how many of each type were dropped for it.

        Those may be entries of this very batch. What is written survives the process, and with `sync`
        a power cut. Raises OSError, and then keeps nothing of the batch.
        """
        with self._mutex:
            frames = b"".join(frame(entry) for entry in batch)
            room, dropped = self._make_room(kind, batch[0].sequence, len(MAGIC) + len(frames))
            if room:
                self._write(self._lanes[kind], batch, frames, sync)
            else:
                dropped[kind] += len(batch)
            self._publish_figures()
            return dropped

    def take(self, count: int, max_bytes: int, before: int | None = None) -> list[Entry]:
        """The oldest entries, in order of hand-over, with a sequence below `before`.

        They stay on disk until `settle`.
        """
        with self._mutex:
            taken: list[Entry] = []
            size = 0
            while len(taken) < count:
                loaded = self._oldest_loaded()
                if not loaded or (before is not None and loaded[0].sequence >= before):
                    break
                if taken and size + len(loaded[0].record.payload) > max_bytes:
                    break
                size += len(loaded[0].record.payload)
                taken.append(loaded.popleft())
                if not loaded:
                    break  # the lane's next file may hold the oldest now; the next take reads it
            self._out = len(taken)
            self._publish_figures()
            return taken

    def settle(self, remaining: Sequence[Entry]) -> Counter[str]:
        """End a take: all but `remaining` is done with. Raises OSError.

        Returns how many of the remaining were dropped from the disk meanwhile.
        """
        with self._mutex:
            dropped: Counter[str] = Counter()
            self._out = 0
            for kind, lane in self._lanes.items():
                back = [entry for entry in remaining if entry.record.event_type == kind]
                if lane.loaded is None:
                    dropped[kind] += len(back)
                    continue
                lane.loaded.extendleft(reversed(back))
                if not lane.loaded:
                    lane.loaded = None
                    lane.files.popleft().path.unlink(missing_ok=True)
            self._publish_figures()
            return +dropped

    def damage(self) -> Counter[str]:
        """How many torn or unreadable entries of each type were met since the last call, at least."""
        with self._mutex:
            damaged, self._damaged = self._damaged, Counter()
            return damaged

    def _scan(self, kind: str, lane: _Lane) -> None:
        lane.files.clear()
        lane.loaded = None
        for path in sorted(self._directory.glob(f"{lane.name}-*{_SUFFIX}")):
            listed = self._read(kind, path)
            if not listed:
                path.unlink()
                continue
            lane.files.append(_described(path, path.stat().st_size, listed))

    def _read(self, kind: str, path: Path) -> list[Entry]:
        found = list(entries(path.read_bytes(), self._topics))
        whole = [entry for entry in found if entry is not None]
        self._damaged[kind] += len(found) - len(whole)
        return whole

    def _make_room(self, kind: str, sequence: int, needed: int) -> tuple[bool, Counter[str]]:
        """Drop the oldest file of the least important lane until there is room; never a more important one."""
        dropped: Counter[str] = Counter()
        expendable = PRIORITY[: PRIORITY.index(kind) + 1]
        while self._size() + needed > self._max_bytes:
            victim = next((name for name in expendable if self._lanes[name].files), None)
            if victim is None or (victim == kind and sequence < self._lanes[kind].files[0].first):
                return False, dropped  # what comes back from the bus is itself the oldest
            lane = self._lanes[victim]
            file = lane.files[0]
            file.path.unlink(missing_ok=True)
            lane.files.popleft()
            dropped[victim] += file.count if lane.loaded is None else len(lane.loaded)
            lane.loaded = None
        return True, dropped

    def _write(self, lane: _Lane, batch: Sequence[Entry], frames: bytes, sync: bool) -> None:
        tail = lane.files[-1] if lane.files else None
        if (
            tail is not None
            and tail.growing
            and tail.size < self.file_bytes
            and tail.last < batch[0].sequence
            and not (lane.loaded is not None and len(lane.files) == 1)  # it is being read
        ):
            _append(tail.path, tail.size, frames, sync)
            tail.size += len(frames)
            tail.count += len(batch)
            tail.last = batch[-1].sequence
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{lane.name}-{batch[0].sequence:020d}{_SUFFIX}"
        _append(path, 0, MAGIC + frames, sync)
        file = _described(path, len(MAGIC) + len(frames), batch)
        file.growing = True
        in_front = bool(lane.files) and file.first < lane.files[0].first
        lane.files = deque(sorted([*lane.files, file], key=lambda listed: listed.first))
        if in_front:
            lane.loaded = None

    def _oldest_loaded(self) -> deque[Entry] | None:
        for kind, lane in self._lanes.items():
            while lane.files and lane.loaded is None:
                try:
                    lane.loaded = deque(self._read(kind, lane.files[0].path))
                except OSError:  # it is left where it is, for the next start to try
                    self._damaged[kind] += lane.files.popleft().count
        heads = [lane.loaded for lane in self._lanes.values() if lane.loaded]
        return min(heads, key=lambda loaded: loaded[0].sequence, default=None)

    def _size(self) -> int:
        return sum(file.size for lane in self._lanes.values() for file in lane.files)

    def _publish_figures(self) -> None:
        lanes = self._lanes.values()
        self.waiting = self._out + sum(lane.waiting for lane in lanes)
        self.size_bytes = self._size()
        self.first = min((lane.first for lane in lanes if lane.first is not None), default=None)
        self.oldest_s = min(
            (lane.oldest_s for lane in lanes if lane.oldest_s is not None), default=None
        )


def _described(path: Path, size: int, listed: Sequence[Entry]) -> _File:
    first, last = listed[0], listed[-1]
    return _File(path, size, len(listed), first.sequence, last.sequence, first.record.timestamp_s)


def _append(path: Path, size: int, data: bytes, sync: bool) -> None:
    """Write at the end of a file of `size` bytes; on OSError the file is as before."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.lseek(fd, size, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fdatasync(fd)
    except OSError:
        if size == 0:
            path.unlink(missing_ok=True)
        else:
            os.ftruncate(fd, size)
        raise
    finally:
        os.close(fd)
    if size == 0 and sync:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # else a power cut may forget that the file exists
        finally:
            os.close(folder)

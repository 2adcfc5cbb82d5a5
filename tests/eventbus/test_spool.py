"""The spool: events on disk, in order, below a bound, through crashes and full disks."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from eventbus.bus import record_of
from eventbus.events import Event
from eventbus.journal import Entry
from eventbus.spool import Spool
from eventbus.topics import Topics
from tests.eventbus.reports import alert, face, motion, status

TOPICS = Topics()
MOTION, FACE, STATUS, ALERT = (
    "motion.detected",
    "face.recognized",
    "system.status",
    "alert.triggered",
)
Make = Callable[[str, int], Event]


def opened(folder: Path, max_bytes: int = 1 << 20) -> Spool:
    spool = Spool(folder, max_bytes, TOPICS)
    spool.open()
    return spool


def batch(make: Make, sequences: Sequence[int]) -> list[Entry]:
    return [Entry(number, record_of(make("door", number), TOPICS)) for number in sequences]


def taken(spool: Spool) -> list[int]:
    """Empty the spool; the sequences in the order they came out."""
    found: list[int] = []
    while hand := spool.take(100, 1 << 20):
        found += [entry.sequence for entry in hand]
        spool.settle(())
    return found


def test_what_goes_in_comes_out_in_order_whatever_its_kind(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(ALERT, batch(alert, [2, 5]))
    spool.append(MOTION, batch(motion, [1, 3, 4, 6]))
    assert spool.waiting == 6
    assert taken(spool) == [1, 2, 3, 4, 5, 6]
    assert spool.waiting == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_comes_back_from_the_bus_goes_in_front(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(MOTION, batch(motion, [4, 5]))
    spool.append(MOTION, batch(motion, [1, 2, 3]))
    assert taken(spool) == [1, 2, 3, 4, 5]


def test_what_was_taken_and_not_sent_is_taken_again(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(MOTION, batch(motion, [1, 2, 3]))
    hand = spool.take(3, 1 << 20)
    spool.settle(hand[1:])
    assert spool.waiting == 2
    assert taken(spool) == [2, 3]


def test_a_new_process_finds_what_the_last_one_left(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(FACE, batch(face, [7, 8]))
    first.close()
    second = Spool(tmp_path, 1 << 20, TOPICS)
    assert second.open() == 8
    assert second.waiting == 2
    assert taken(second) == [7, 8]


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(BlockingIOError, match="is another process's"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_torn_last_record_is_dropped_and_counted(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(ALERT, batch(alert, [1, 2, 3]))
    first.close()
    (file,) = tmp_path.glob("*.spool")
    os.truncate(file, file.stat().st_size - 5)
    second = opened(tmp_path)
    assert second.damage() == Counter({ALERT: 1})
    second.append(ALERT, batch(alert, [4]))  # never behind the torn end
    assert taken(second) == [1, 2, 4]


def test_at_the_bound_the_oldest_of_the_least_important_leave(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=32_768)
    dropped: Counter[str] = Counter()
    for number in count(1):
        dropped += spool.append(MOTION, batch(motion, [4 * number]))
        dropped += spool.append(FACE, batch(face, [4 * number + 1]))
        dropped += spool.append(STATUS, batch(status, [4 * number + 2]))
        dropped += spool.append(ALERT, batch(alert, [4 * number + 3]))
        if dropped[FACE] > 5:
            break
    left = [sequence % 4 for sequence in taken(spool)]
    assert dropped[MOTION] > dropped[FACE]
    assert dropped[STATUS] == dropped[ALERT] == 0
    assert left.count(3) == number
    assert left.count(0) + dropped[MOTION] == number


def test_the_folder_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=65_536)
    for number in range(1, 200):
        spool.append(MOTION, batch(motion, range(number * 10, number * 10 + 10)))
        assert sum(file.stat().st_size for file in tmp_path.glob("*.spool")) <= 65_536


def test_the_less_important_never_costs_the_more_important(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=8192)
    number = 0
    while not spool.append(ALERT, batch(alert, [number + 1])):
        number += 1
    assert spool.append(MOTION, batch(motion, range(1000, 1030))) == Counter({MOTION: 30})


def test_what_is_dropped_while_it_is_being_sent_is_counted_only_if_sending_fails(
    tmp_path: Path,
) -> None:
    spool = opened(tmp_path, max_bytes=8192)
    spool.append(MOTION, batch(motion, range(1, 6)))
    hand = spool.take(2, 1 << 20)
    dropped = spool.append(ALERT, batch(alert, range(10, 30)))
    assert dropped == Counter({MOTION: 3})
    assert spool.settle(hand[1:]) == Counter({MOTION: 1})


def test_a_full_disk_is_told_and_leaves_no_torn_file(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    full = tmp_path / f"alert-triggered-{1:020d}.spool"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        spool.append(ALERT, batch(alert, [1]))
    assert not full.is_symlink()
    assert spool.waiting == 0
    spool.append(ALERT, batch(alert, [1]))
    assert taken(spool) == [1]


def test_a_file_that_vanished_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(MOTION, batch(motion, [1, 2]))
    spool.append(ALERT, batch(alert, [3]))
    next(tmp_path.glob("motion*.spool")).unlink()
    assert taken(spool) == [3]
    assert spool.damage() == Counter({MOTION: 2})

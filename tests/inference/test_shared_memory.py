"""Slots of shared memory: one owner at a time, and none again once it is lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.inference.shared_memory import FOLDER, Region, Slot, room_for
from orchestrator.inference.sharing_notes import PREFIX, Note

NAME = f"{PREFIX}test-{Path(__file__).stem}"


@pytest.fixture
def region() -> Iterator[Region]:
    made = Region(f"{NAME}-slots", 1000, 3)
    yield made
    made.unlink()


def test_it_is_for_this_user_only_and_has_all_its_room_from_the_start(region: Region) -> None:
    status = (FOLDER / region.name).stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == region.total_bytes == 3 * 4096
    assert status.st_blocks * 512 >= region.total_bytes


def test_more_than_the_memory_has_room_for_is_refused_and_leaves_nothing() -> None:
    with pytest.raises(OSError, match=r"space|large|memory"):
        Region(f"{NAME}-huge", 2**50, 8)
    assert not (FOLDER / f"{NAME}-huge").exists()


def test_there_are_no_more_slots_than_were_made(region: Region) -> None:
    assert [region.take() is None for _ in range(4)] == [False, False, False, True]


def test_what_is_put_in_is_found_by_whoever_has_mapped_the_memory(region: Region) -> None:
    slot = region.take()
    assert slot is not None
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 30)
    numbers = np.array([[1.5, -2.5]], np.float32)
    turned = pixels.T  # not contiguous
    tensors: list[NDArray[Any]] = [pixels, numbers, turned]
    places = slot.put(tensors)
    content = (FOLDER / region.name).read_bytes()
    for place, tensor in zip(places, tensors, strict=True):
        assert content[place : place + tensor.nbytes] == tensor.tobytes()
        assert place % 64 == 0
    assert room_for(tensors) <= region.slot_bytes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["take", "give back", "lose"]), max_size=60))
def test_no_slot_has_two_owners_and_a_lost_one_never_has_another(steps: list[str]) -> None:
    region = Region(f"{NAME}-history", 64, 4)
    region.unlink()
    owned: dict[int, Slot] = {}
    lost: set[int] = set()
    for step in steps:
        if step == "take":
            slot = region.take()
            assert (slot is None) == (len(owned) + len(lost) == 4)
            if slot is not None:
                (place,) = slot.put([np.zeros(1, np.uint8)])
                assert place not in owned.keys() | lost
                owned[place] = slot
        elif owned:
            place, slot = owned.popitem()
            if step == "lose":
                slot.lose()
                lost.add(place)
            else:
                slot.give_back()
    assert region.worn == (len(lost) >= 2)


def test_a_note_belongs_to_the_living_until_its_lock_is_gone(tmp_path: Path) -> None:
    note = Note.write(tmp_path)
    assert list(Note.of_the_dead(tmp_path)) == []
    note.leave()  # as the end of its process does
    (dead,) = [found.prefix for found in Note.of_the_dead(tmp_path)]
    assert dead == note.prefix
    for found in Note.of_the_dead(tmp_path):
        found.remove()
    assert list(tmp_path.iterdir()) == []


def test_two_notes_never_have_a_name_in_common(tmp_path: Path) -> None:
    one, other = Note.write(tmp_path), Note.write(tmp_path)
    assert not one.prefix.startswith(other.prefix)
    assert not other.prefix.startswith(one.prefix)
    for note in (one, other):
        note.leave()

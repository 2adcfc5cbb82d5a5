"""Cameras are spread over the workers evenly, and one that stays keeps its worker."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from eventbus.memory import MemoryBus
from orchestrator.camera import Camera
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings
from orchestrator.workers.supervisor import WorkerSupervisor


def supervisor(workers: int) -> WorkerSupervisor:
    return WorkerSupervisor(
        Settings(), workers, bus=MemoryBus(), metrics=Metrics(CollectorRegistry())
    )


def camera(name: str, url: str = "x.mp4", *, enabled: bool = True) -> Camera:
    return Camera(camera_id=name, url=SecretStr(url), enabled=enabled)


def places(spread: WorkerSupervisor) -> dict[str, int]:
    return {name: slot.number for slot in spread.slots for name in slot.cameras}


def test_new_cameras_go_to_the_emptiest_worker() -> None:
    spread = supervisor(3)
    spread.spread([camera(f"c{n}") for n in range(7)])
    assert sorted(len(slot.cameras) for slot in spread.slots) == [2, 2, 3]


def test_only_workers_whose_cameras_changed_are_told() -> None:
    spread = supervisor(2)
    spread.spread([camera("a"), camera("b")])
    before = places(spread)
    assert spread.spread([camera("a"), camera("b")]) == []
    (changed,) = spread.spread([camera("a"), camera("b", "other.mp4")])
    assert changed.number == before["b"]
    assert places(spread) == before


def test_a_camera_that_is_switched_off_is_nobodys() -> None:
    spread = supervisor(2)
    spread.spread([camera("a"), camera("b", enabled=False)])
    assert set(places(spread)) == {"a"}
    assert spread.slot_of("b") is None
    held = spread.slot_of("a")
    assert held is not None
    assert "a" in held.cameras


@given(
    st.integers(1, 5),
    st.lists(st.sets(st.sampled_from([f"c{n}" for n in range(12)])), min_size=1, max_size=6),
)
def test_whatever_comes_and_goes_each_camera_has_one_worker_and_who_stays_stays(
    workers: int, lists: list[set[str]]
) -> None:
    spread = supervisor(workers)
    for names in lists:
        before = places(spread)
        spread.spread([camera(name) for name in sorted(names)])
        after = places(spread)
        assert Counter(name for slot in spread.slots for name in slot.cameras) == Counter(names)
        assert all(after[name] == before[name] for name in names & before.keys())

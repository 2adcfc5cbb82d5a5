"""On real footage each visit is one track: six people come one at a time, and a road shows nobody."""

from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.camera import Camera
from orchestrator.motion.gate import MotionGate
from orchestrator.settings import MotionSettings
from orchestrator.tracking.byte_tracker import ByteTracker
from tests.tracking.clip import EDGE_S, END_S, VISITS, Look, looks

pytestmark = pytest.mark.xdist_group("clips")

FPS = 5


@pytest.fixture(scope="module")
def people(clips: Path, served_models: Path) -> tuple[Look, ...]:
    model = served_models / "object_detector" / "1" / "model.onnx"
    return looks(clips / "one-by-one-person-detection.mp4", model, FPS)


@pytest.fixture(scope="module")
def road(clips: Path, served_models: Path) -> tuple[Look, ...]:
    model = served_models / "object_detector" / "1" / "model.onnx"
    return looks(clips / "car-detection.mp4", model, FPS)


def track(seen: tuple[Look, ...]) -> dict[int, list[float]]:
    """When each id was shown."""
    tracker, times = ByteTracker(), dict[int, list[float]]()
    for look in seen:
        for found in tracker.update(look.detections, look.pts_s).active:
            times.setdefault(found.track_id, []).append(look.pts_s)
    return times


def gate(sensitivity: float = 0.5) -> MotionGate:
    camera = Camera.model_validate({"camera_id": "door", "url": "clip.mp4"})
    return MotionGate(MotionSettings(sensitivity=sensitivity), camera)


def gated(seen: tuple[Look, ...]) -> tuple[Look, ...]:
    """Those that the gate lets through while the tracker follows what they show."""
    looker, tracker, through = gate(), ByteTracker(), list[Look]()
    for look in seen:
        moves = looker.look(look.thumbnail, look.pts_s)
        if moves or (tracker.live and looker.look_again(look.pts_s)):
            tracker.update(look.detections, look.pts_s)
            through.append(look)
    return tuple(through)


def assert_one_track_a_visit(times: dict[int, list[float]], fps: float = FPS) -> None:
    slack_s = EDGE_S + 2 * (1 / fps - 1 / FPS)
    assert sorted(times) == [1, 2, 3, 4, 5, 6]
    for (begin_s, end_s), shown in zip(VISITS, times.values(), strict=True):
        assert begin_s <= shown[0] <= begin_s + slack_s
        assert end_s - slack_s <= shown[-1] <= end_s


@pytest.mark.parametrize("every", [1, 2, 3])
def test_each_visit_is_one_track_at_5_and_fewer_frames_a_second(
    people: tuple[Look, ...], every: int
) -> None:
    assert_one_track_a_visit(track(people[::every]), FPS / every)


def test_nobody_is_lost_within_a_visit(people: tuple[Look, ...]) -> None:
    for shown in track(people).values():
        assert max(after - before for before, after in pairwise(shown)) <= 0.45


def test_a_road_with_cars_has_no_person_on_it(road: tuple[Look, ...]) -> None:
    assert track(road) == {}


def test_behind_the_motion_gate_each_visit_still_is_one_track(people: tuple[Look, ...]) -> None:
    assert_one_track_a_visit(track(gated(people)))


def test_the_motion_gate_misses_no_visit_and_skips_most_of_the_empty_scene(
    people: tuple[Look, ...],
) -> None:
    through = {look.pts_s for look in gated(people)}
    entering = [
        look.pts_s
        for look in people
        for begin_s, _ in VISITS
        if begin_s + 2 / FPS <= look.pts_s <= begin_s + 2.0
    ]
    assert set(entering) <= through
    empty = [look.pts_s for look in people if not in_a_visit(look.pts_s)]
    assert 2 * sum(pts_s in through for pts_s in empty) < len(empty)
    assert len(through) < 0.8 * len(people)


def test_before_anybody_comes_only_forced_looks_are_taken(people: tuple[Look, ...]) -> None:
    looker = gate()
    taken = [
        look.pts_s
        for look in people
        if look.pts_s < VISITS[0][0] and looker.look(look.thumbnail, look.pts_s)
    ]
    assert taken == [0.0, 3.0]


def in_a_visit(pts_s: float) -> bool:
    return pts_s < END_S and any(begin_s <= pts_s <= end_s for begin_s, end_s in VISITS)

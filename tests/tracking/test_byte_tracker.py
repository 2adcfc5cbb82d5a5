"""The tracker gives each object one id for as long as it is followed, at any rate of inspection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.detection import Detections
from orchestrator.ports import Tracker
from orchestrator.tracking.byte_tracker import ByteTracker
from tests.tracking.walk import Box, Run, Seen, ids, person, run, sight

NOBODY = sight()
STANDING = sight(person(300))
# A brisk walk is about this many body heights a second, seen from the side.
BRISK = 1.0


def crossing(fps: float, seconds: float = 3.0, height: float = 200) -> list[Box]:
    step_px = BRISK * height / fps
    return [person(100 + step * step_px, height=height) for step in range(round(seconds * fps))]


def test_an_object_is_shown_from_its_second_detection_on() -> None:
    assert run(ByteTracker(), [STANDING] * 3).shown == [[], [1], [1]]


def test_a_track_remembers_its_first_detection_and_counts_all() -> None:
    tracker = ByteTracker()
    run(tracker, [STANDING] * 2, from_s=10)
    (track,) = tracker.update(STANDING, 10.4).active
    assert (track.first_seen_s, track.hits) == (10.0, 3)


def test_a_track_shows_the_box_and_confidence_that_the_detector_gave_in_this_frame() -> None:
    tracker = ByteTracker()
    run(tracker, [STANDING] * 2)
    moved = sight(Seen(person(310), 0.7, 0))
    (track,) = tracker.update(moved, 0.4).active
    assert track.xyxy.tolist() == moved.xyxy[0].tolist()
    assert track.confidence == pytest.approx(0.7)


def test_one_detection_alone_is_never_shown_and_never_ends() -> None:
    assert run(ByteTracker(), [STANDING, NOBODY, NOBODY]) == Run([[], [], []], [])


def test_ids_count_from_one_and_detections_that_came_to_nothing_use_none_up() -> None:
    flicker, steady = person(600), person(300)
    frames = [sight(flicker), NOBODY, sight(flicker), sight(steady), sight(steady)]
    assert run(ByteTracker(), frames).shown[-1] == [1]


def test_who_is_lost_for_a_moment_keeps_the_id() -> None:
    result = run(ByteTracker(max_lost_s=2.0), [STANDING] * 3 + [NOBODY] * 9 + [STANDING])
    assert (result.shown[-1], result.ended) == ([1], [])


def test_who_stays_away_ends_once_and_comes_back_as_somebody_new() -> None:
    away = [NOBODY] * 15
    result = run(ByteTracker(max_lost_s=2.0), [*[STANDING] * 3, *away, *[STANDING] * 2, *away])
    assert result.shown[19] == [2]
    assert result.ended == [1, 2]


def test_time_is_the_streams_and_not_a_count_of_frames() -> None:
    many = run(ByteTracker(max_lost_s=2.0), [STANDING] * 3 + [NOBODY] * 50 + [STANDING], fps=30)
    few = run(ByteTracker(max_lost_s=2.0), [STANDING] * 3 + [NOBODY] * 3 + [STANDING], fps=1)
    assert (many.ended, few.ended) == ([], [1])


def test_a_gap_without_any_inspection_ends_tracks_like_one_without_detections() -> None:
    tracker = ByteTracker(max_lost_s=2.0)
    run(tracker, [STANDING] * 3)
    update = tracker.update(STANDING, 3600.0)
    assert (update.active, update.ended) == ((), (1,))


def test_a_clock_that_stands_still_or_goes_back_does_no_harm() -> None:
    tracker = ByteTracker()
    shown = [ids(tracker.update(STANDING, pts_s).active) for pts_s in (5.0, 5.0, 4.0, 5.0, 5.2)]
    assert shown == [[], [1], [1], [1], [1]]


@pytest.mark.parametrize("fps", [2, 3, 5, 10, 30])
def test_a_brisk_walker_keeps_one_id_at_any_rate(fps: float) -> None:
    result = run(ByteTracker(), [sight(box) for box in crossing(fps)], fps)
    assert result.shown[1:] == [[1]] * (len(result.shown) - 1)


@pytest.mark.parametrize("fps", [3, 5, 10, 30])
def test_two_who_cross_keep_their_ids(fps: float) -> None:
    there = crossing(fps)
    back = [person(box[0] + 40, 430) for box in reversed(there)]
    tracker = ByteTracker()
    found = [
        tracker.update(sight(a, b), number / fps).active
        for number, (a, b) in enumerate(zip(there, back, strict=True))
    ]
    who = [{track.track_id: track.xyxy[3] for track in tracks} for tracks in found[1:]]
    assert all(feet == {1: 400, 2: 430} for feet in who)


def test_who_walks_behind_a_pillar_comes_out_with_the_same_id() -> None:
    walk = [sight(box) for box in crossing(5)]
    hidden = [*walk[:6], *[NOBODY] * 3, *walk[9:]]
    assert run(ByteTracker(), hidden).shown[-1] == [1]


def test_two_groups_in_one_frame_do_not_mix() -> None:
    crowd = sight(*(person(x) for x in range(100, 1000, 100)))
    shown = run(ByteTracker(), [crowd] * 4).shown
    assert shown[1:] == [[1, 2, 3, 4, 5, 6, 7, 8, 9]] * 3


def test_a_weak_detection_keeps_a_track_that_was_just_seen() -> None:
    weak = sight(Seen(person(302), 0.3))
    assert run(ByteTracker(), [STANDING] * 2 + [weak] * 20).shown[-1] == [1]


@pytest.mark.parametrize("before", [[], [STANDING, STANDING, NOBODY]])
def test_a_weak_detection_neither_begins_a_track_nor_finds_a_lost_one(
    before: list[Detections],
) -> None:
    weak = sight(Seen(person(300), 0.3))
    assert run(ByteTracker(), [*before, weak, weak, weak]).shown[-3:] == [[], [], []]


def test_what_is_weaker_than_the_lower_threshold_is_clutter() -> None:
    clutter = sight(Seen(person(300), 0.2))
    assert run(ByteTracker(low=0.25), [STANDING] * 2 + [clutter]).shown[-1] == []


def test_with_equal_thresholds_there_is_no_second_chance() -> None:
    weak = sight(Seen(person(300), 0.3))
    assert run(ByteTracker(high=0.5, low=0.6), [STANDING] * 2 + [weak]).shown[-1] == []


def test_a_dog_never_continues_a_persons_track() -> None:
    dog = sight(Seen(person(300), 0.9, class_id=16))
    result = run(ByteTracker(max_lost_s=1.0), [*[STANDING] * 2, *[dog] * 8])
    assert result == Run([[], [1], [], *[[2]] * 7], [1])


def test_a_lost_camera_ends_every_track_and_ids_go_on() -> None:
    tracker = ByteTracker()
    run(tracker, [sight(person(100), person(500))] * 2)
    assert tracker.close() == (1, 2)
    assert (tracker.close(), tracker.live) == ((), False)
    assert run(tracker, [STANDING] * 2, from_s=1).shown == [[], [3]]


def test_a_tracker_is_live_from_the_first_detection_until_the_track_ends() -> None:
    tracker = ByteTracker(max_lost_s=1.0)
    frames = [NOBODY, STANDING, STANDING, NOBODY, NOBODY, NOBODY]
    live = []
    for second, seen in enumerate(frames):
        tracker.update(seen, float(second) * 0.9)
        live.append(tracker.live)
    assert live == [False, True, True, True, False, False]


def test_memory_is_bounded_and_who_was_not_seen_for_longest_ends_early() -> None:
    tracker = ByteTracker(max_tracks=2)
    run(tracker, [sight(person(100))] * 2)
    result = run(tracker, [sight(person(500), person(900))] * 2, from_s=0.4)
    assert (result.shown[-1], result.ended) == ([2, 3], [1])


def test_boxes_without_size_do_no_harm() -> None:
    point = sight((50, 50, 50, 50), (80, 60, 70, 50))
    assert run(ByteTracker(), [point] * 3).shown[-1] == [1, 2]


def test_an_empty_picture_changes_nothing() -> None:
    assert run(ByteTracker(), [NOBODY] * 3) == Run([[], [], []], [])


boxes = st.tuples(
    st.integers(0, 600), st.integers(0, 400), st.integers(1, 200), st.integers(1, 300)
).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))
detections = st.builds(
    Seen, boxes, st.sampled_from([0.1, 0.3, 0.45, 0.5, 0.7, 0.99]), st.sampled_from([0, 0, 0, 2])
)
scenes = st.lists(
    st.tuples(st.lists(detections, max_size=6), st.sampled_from([0.0, 0.03, 0.2, 0.5, 2.5])),
    max_size=25,
)


@settings(deadline=None)
@given(scenes, st.sampled_from([4, 256]))
def test_whatever_is_detected_the_promises_of_a_tracker_hold(
    scene: list[tuple[list[Seen], float]], max_tracks: int
) -> None:
    tracker: Tracker = ByteTracker(max_tracks=max_tracks)
    ever: set[int] = set()
    ended: list[int] = []
    pts_s = 0.0
    for seen, step_s in scene:
        pts_s += step_s
        frame = sight(*seen)
        update = tracker.update(frame, pts_s)
        shown = ids(update.active)
        assert shown == sorted(set(shown))
        assert not set(shown) & {*ended}, "an id that ended is never shown again"
        assert not set(shown) & {*update.ended}
        rows = [(*track.xyxy.tolist(), track.class_id) for track in update.active]
        given_rows = [
            (*box, int(class_id))
            for box, class_id in zip(frame.xyxy.tolist(), frame.class_id, strict=True)
        ]
        assert all(rows.count(row) <= given_rows.count(row) for row in rows)
        assert all(track.hits >= 2 and track.first_seen_s <= pts_s for track in update.active)
        ever |= {*shown}
        ended += update.ended
    ended += tracker.close()
    assert sorted(ended) == sorted(ever) == list(range(1, len(ever) + 1))


@settings(deadline=None, max_examples=30)
@given(scenes)
def test_the_same_scene_gives_the_same_tracks(scene: list[tuple[list[Seen], float]]) -> None:
    frames = [sight(*seen) for seen, _ in scene]
    assert run(ByteTracker(), frames) == run(ByteTracker(), frames)


@given(st.permutations(range(5)))
def test_the_order_of_detections_does_not_matter(order: list[int]) -> None:
    people = [person(x) for x in range(100, 600, 100)]
    tracker = ByteTracker()
    run(tracker, [sight(*people)] * 2)
    update = tracker.update(sight(*(people[place] for place in order)), 0.4)
    middles = [float(np.mean(track.xyxy[[0, 2]])) for track in update.active]
    assert middles == sorted(middles)

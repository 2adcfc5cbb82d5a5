"""One camera's path: what becomes of a frame, which events it causes, and that it is always accounted for."""

import asyncio
from dataclasses import replace

import pytest

from eventbus.events import FaceRecognitionEvent
from orchestrator.camera import CameraState
from orchestrator.errors import (
    InferenceError,
    InferenceInvalid,
    InferenceStale,
    InferenceUnavailable,
)
from orchestrator.ledger import Skip
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.settings import FacesSettings
from tests.camera_path import ADA, BEN, CAR, LIVE, NOBODY, WHOLE, Site, open_site
from tests.recognition.scripted import PaintedFace, paint
from tests.tracking.walk import Box, Seen


@pytest.fixture
def site() -> Site:
    return open_site()


def person(x: float = 300.0) -> Box:
    return (x, 100.0, x + 80.0, 300.0)


async def test_a_frame_with_somebody_in_it_is_inspected_and_reported(site: Site) -> None:
    site.sees(person())
    assert await site.step() == ["motion.detected"]
    assert (site.coverage.inspected, site.coverage.pending) == (1, 0)
    assert site.motion[0].detected_objects[0].object_class == "person"
    labels = {"camera_id": "door", "object_class": "person"}
    assert site.count("fess_detections_total", **labels) == 1
    assert site.count("fess_detection_latency_seconds_count", camera_id="door") == 1


async def test_an_empty_frame_is_inspected_and_shown_and_causes_no_event(site: Site) -> None:
    assert await site.step() == []
    assert site.coverage.inspected == 1
    assert site.board.view("door")[1] is not None
    assert site.shelf.cached == []


async def test_a_weak_detection_continues_a_track_and_is_not_reported(site: Site) -> None:
    site.sees(person())
    await site.step()
    await site.step()
    site.sees(Seen(person(302.0), 0.3))
    assert await site.step() == []
    assert [mark.track_id for mark in site.marks] == [1]
    assert site.count("fess_detections_total", camera_id="door", object_class="person") == 2


async def test_what_is_reported_is_cached_for_other_programs(site: Site) -> None:
    site.sees(person(), Seen(person(100), 0.3))
    await site.step()
    assert site.shelf.cached == [1]


async def test_an_object_outside_the_regions_does_not_count() -> None:
    left_half = [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]
    site = open_site(regions=left_half)
    site.sees(person(500))
    assert await site.step() == []
    site.sees(person(500), person(100))
    await site.step()
    assert site.motion[0].total_objects == 1


async def test_motion_events_may_be_thinned_but_every_frame_is_inspected() -> None:
    site = open_site(replace(LIVE, motion_interval_s=1.0))
    site.sees(person())
    for _ in range(11):
        await site.step()
    assert site.coverage.inspected == 11
    assert [event.frame_number for event in site.motion] == [1, 6, 11]


async def test_a_frame_that_waited_too_long_is_stale_and_nobody_is_asked(site: Site) -> None:
    assert await site.step(age_s=0.6) == []
    assert site.coverage.skipped[Skip.STALE] == 1
    assert site.objects.deadlines_s == []


async def test_the_server_is_given_no_longer_than_the_frame_may_get_old(site: Site) -> None:
    await site.step(age_s=0.1)
    assert site.objects.deadlines_s == [pytest.approx(site.now_s - 0.1 + 0.5)]


async def test_a_frame_in_which_nothing_moves_is_not_inspected() -> None:
    site = open_site(gate=True)
    await site.step()
    await site.step()
    assert (site.coverage.inspected, site.coverage.skipped[Skip.NO_MOTION]) == (1, 1)
    assert len(site.objects.deadlines_s) == 1


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (InferenceStale("late"), Skip.STALE),
        (InferenceUnavailable("down"), Skip.ERROR),
        (InferenceInvalid("NaN"), Skip.ERROR),
    ],
)
async def test_a_frame_without_an_answer_is_skipped_under_its_cause(
    site: Site, failure: InferenceError, cause: Skip
) -> None:
    site.objects.failure = failure
    assert await site.step() == []
    assert site.coverage.skipped[cause] == 1
    assert (site.coverage.inspected, site.coverage.pending) == (0, 0)
    assert site.board.view("door")[1] is None


async def test_a_track_outlives_a_frame_without_an_answer(site: Site) -> None:
    site.sees(person())
    await site.step()
    await site.step()
    site.objects.failure = InferenceUnavailable("down")
    await site.step()
    site.objects.failure = None
    await site.step()
    assert [mark.track_id for mark in site.marks] == [1]


async def test_a_frame_whose_camera_is_removed_while_it_is_inspected_is_accounted_for(
    site: Site,
) -> None:
    site.objects.blocked = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        inspecting = tasks.create_task(site.pipeline.inspect(site.frame()))
        await asyncio.sleep(0)
        inspecting.cancel()
    assert site.coverage.skipped[Skip.STALE] == 1
    assert site.coverage.pending == 0
    assert site.lines == []


async def test_a_bug_escapes_and_its_frame_is_an_error(site: Site) -> None:
    site.objects.failure = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await site.step()
    assert site.coverage.skipped[Skip.ERROR] == 1
    assert site.coverage.pending == 0


async def test_a_person_is_named_once_after_the_objects_of_the_frame(site: Site) -> None:
    picture = site.shows(ADA)
    happened = [await site.step(picture) for _ in range(4)]
    # A track begins with the second detection.
    assert happened[0] == ["motion.detected"]
    assert happened[1] == ["motion.detected", "face.recognized"]
    assert happened[2] == happened[3] == ["motion.detected"]
    labels = {"camera_id": "door", "authorized": "true"}
    assert site.count("fess_face_recognitions_total", **labels) == 1


@pytest.mark.parametrize(
    ("who", "rule", "level"),
    [(NOBODY, "stranger", "WARNING"), (BEN, "unauthorized", "CRITICAL")],
)
async def test_somebody_who_should_not_be_here_raises_one_alert_after_the_sighting(
    site: Site, who: int, rule: str, level: str
) -> None:
    picture = site.shows(who)
    happened = [kind for _ in range(4) for kind in await site.step(picture)]
    assert [kind for kind in happened if kind != "motion.detected"] == [
        "face.recognized",
        "alert.triggered",
    ]
    assert site.count("fess_alerts_total", rule=rule, level=level) == 1
    assert site.count("fess_face_recognitions_total", camera_id="door", authorized="false") == 1


@pytest.mark.parametrize(
    ("who", "kind", "label"),
    [(ADA, "known", "Ada"), (BEN, "unauthorised", "Ben"), (NOBODY, "stranger", "stranger")],
)
async def test_the_picture_says_who_it_is(site: Site, who: int, kind: str, label: str) -> None:
    picture = site.shows(who)
    await site.step(picture)
    await site.step(picture)
    (mark,) = site.marks
    assert (mark.kind, mark.label) == (kind, label)


async def test_a_car_has_no_face(site: Site) -> None:
    site.sees(Seen(WHOLE, class_id=CAR))
    for _ in range(3):
        await site.step(paint(PaintedFace(ADA, 260, 120)))
    assert site.faces.regions == []
    assert [(mark.kind, mark.label) for mark in site.marks] == [("object", "car")]


async def test_where_the_model_knows_no_person_every_object_may_have_a_face() -> None:
    site = open_site()
    site.objects.model = DetectionModel(site.objects.model.version, ("head", "car"))
    site.sees(Seen(WHOLE, class_id=CAR))
    for _ in range(2):
        await site.step(paint(PaintedFace(ADA, 260, 120)))
    assert site.faces.regions


async def test_objects_are_reported_although_the_faces_gave_no_answer(site: Site) -> None:
    picture = site.shows(ADA)
    site.faces.failure = InferenceUnavailable("down")
    happened = [await site.step(picture) for _ in range(3)]
    assert happened == [["motion.detected"]] * 3
    assert site.coverage.inspected == 3
    assert [mark.kind for mark in site.marks] == ["person"]


async def test_a_live_event_says_how_long_its_stages_took(site: Site) -> None:
    site.sees(person())
    await site.step(age_s=0.02)
    evidence = site.motion[0].evidence
    assert evidence is not None
    assert evidence.latencies is not None
    assert evidence.latencies.capture_ms == pytest.approx(20.0, abs=0.1)
    assert site.board.cameras()[0].latency_p95_s == pytest.approx(0.02)


async def test_in_a_replay_nothing_is_late_and_nothing_says_how_long_it_took() -> None:
    site = open_site(replace(LIVE, max_age_s=None))
    site.sees(person())
    await site.step(age_s=3600.0)
    assert site.coverage.inspected == 1
    evidence = site.motion[0].evidence
    assert evidence is not None
    assert evidence.latencies is None
    assert site.objects.deadlines_s[0] > site.now_s + 10


@pytest.mark.parametrize("part", ["objects", "faces"])
async def test_a_replay_is_whole_or_has_failed(part: str) -> None:
    site = open_site(replace(LIVE, max_age_s=None))
    picture = site.shows(ADA)
    await site.step(picture)
    getattr(site, part).failure = InferenceUnavailable("down")
    with pytest.raises(InferenceUnavailable):
        await site.step(picture)
    assert site.coverage.pending == 0


async def test_a_lost_camera_ends_its_tracks_and_is_told_with_an_alert(site: Site) -> None:
    picture = site.shows(ADA)
    for _ in range(2):
        await site.step(picture)
    await site.pipeline.changed(CameraState.OFFLINE, "the cable is out")
    assert [event.event_type for event in site.events[-2:]] == ["system.status", "alert.triggered"]
    status = site.board.cameras()[0]
    assert (status.state, status.detail) == (CameraState.OFFLINE, "the cable is out")

    await site.pipeline.changed(CameraState.ONLINE, "")
    for _ in range(2):
        await site.step(picture)
    (mark,) = site.marks
    assert (mark.track_id, mark.label) == (2, "Ada")


async def seen_twice() -> Site:
    """A camera that saw a stranger's face twice, too little for a decision."""
    site = open_site(rules=FacesSettings())
    picture = site.shows(NOBODY)
    for _ in range(3):
        assert await site.step(picture) == ["motion.detected"]
    return site


async def test_somebody_who_leaves_undecided_is_reported_once_as_last_seen() -> None:
    site = await seen_twice()
    site.sees()
    happened = [kind for _ in range(20) for kind in await site.step()]
    assert happened == ["face.recognized", "alert.triggered"]
    face = next(event for event in site.events if isinstance(event, FaceRecognitionEvent))
    assert (face.person_name, face.frame_number) == (None, 3)
    assert face.timestamp == site.motion[2].timestamp
    assert face.evidence is not None
    assert (face.evidence.faces, face.evidence.frame_width) == (2, 640)
    assert site.count("fess_face_recognitions_total", camera_id="door", authorized="false") == 1


async def test_who_is_in_view_when_the_camera_is_lost_is_reported_before_the_loss() -> None:
    site = await seen_twice()
    await site.pipeline.changed(CameraState.OFFLINE, "the cable is out")
    assert [event.event_type for event in site.events[3:]] == [
        "face.recognized",
        "alert.triggered",
        "system.status",
        "alert.triggered",
    ]


async def test_who_is_in_view_at_the_end_is_reported_once() -> None:
    site = await seen_twice()
    site.pipeline.end()
    site.pipeline.end()
    assert [event.event_type for event in site.events[3:]] == ["face.recognized", "alert.triggered"]


async def test_who_was_named_in_view_is_not_reported_again_at_the_end(site: Site) -> None:
    picture = site.shows(ADA)
    for _ in range(3):
        await site.step(picture)
    before = len(site.events)
    site.pipeline.end()
    assert len(site.events) == before


async def test_a_camera_that_starts_is_told_without_an_alert(site: Site) -> None:
    await site.pipeline.changed(CameraState.ONLINE, "")
    assert [event.event_type for event in site.events] == ["system.status"]


async def test_what_was_published_is_on_the_board(site: Site) -> None:
    picture = site.shows(NOBODY)
    for _ in range(2):
        await site.step(picture)
    shown = [event.event_type for event in site.board.events(motion=False)]
    assert shown == ["alert.triggered", "face.recognized"]


async def test_after_a_swap_events_name_the_version_that_answered_and_its_labels(
    site: Site,
) -> None:
    site.sees(person())
    await site.step()
    site.objects.model = DetectionModel(ModelVersion("object_detector", "2", "e" * 64), ("guest",))
    await site.step()
    site.objects.model = DetectionModel(
        ModelVersion("object_detector", "1", "d" * 64), ("person", "car")
    )
    await site.step()
    said = []
    for event in site.motion:
        assert event.evidence is not None
        (model,) = event.evidence.models
        said.append((model.version, model.sha256[0], event.detected_objects[0].object_class))
    assert said == [("1", "d", "person"), ("2", "e", "guest"), ("1", "d", "person")]


async def test_tracks_end_when_their_classes_get_other_names(site: Site) -> None:
    site.sees(person())
    await site.step()
    await site.step()
    assert [mark.track_id for mark in site.marks] == [1]
    version = ModelVersion("object_detector", "2", "e" * 64)
    site.objects.model = DetectionModel(version, ("person", "car"))
    await site.step()
    assert [mark.track_id for mark in site.marks] == [1], "the same names: the track goes on"
    site.objects.model = DetectionModel(version, ("car", "person"))
    for _ in range(2):
        await site.step()
    assert [(mark.track_id, mark.label) for mark in site.marks] == [(2, "car")]

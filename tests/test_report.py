"""Events from what the pipeline found: the same finding always gives the same event, with what it stands on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from eventbus.events import StageLatencies, encode
from orchestrator.camera import CameraState
from orchestrator.detection import Detections
from orchestrator.face import Sighting
from orchestrator.frame import Frame
from orchestrator.identity import Candidate, Identity
from orchestrator.model_version import DetectionModel, ModelVersion
from orchestrator.picture import ArrayPicture
from orchestrator.ports import Recognition
from orchestrator.report import Reporter, camera_status
from orchestrator.track import Track

NOON = datetime(2026, 3, 4, 12, 0, 0, 250_000, tzinfo=UTC)
DETECTOR = ModelVersion("object_detector", "3", "d" * 64)
FACES = (ModelVersion("face_detector", "1", "f" * 64), ModelVersion("face_embedder", "2", "e" * 64))
REPORTER = Reporter(
    "door", DetectionModel(DETECTOR, ("person", "car")), {"score": 0.5, "nms": 0.45}
)
ADA = Identity(
    face_id="ada",
    person_name="Ada",
    confidence=0.712345,
    is_authorized=True,
    candidates=(Candidate("ada", "Ada", 0.712345), Candidate("ben", "Ben", 0.1)),
    faces=3,
    threshold=0.4,
    margin=0.05,
    agreement=2,
    gallery_version="g7",
)


def frame(number: int = 17, captured_at: datetime = NOON) -> Frame:
    picture = ArrayPicture(np.zeros((360, 640, 3), np.uint8))
    return Frame("door", number, picture, 1.5, captured_at, 100.0)


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int32),
    )


def track(track_id: int, box: tuple[float, float, float, float], class_id: int = 0) -> Track:
    return Track(track_id, np.array(box, np.float32), 0.9, class_id, 0.0, 3)


def recognition(identity: Identity = ADA, track_id: int = 4) -> Recognition:
    shown = frame()
    size = shown.picture.width, shown.picture.height
    corners = np.array([10.04, 20, 30, 40], np.float32)
    seen = Sighting(shown.frame_number, shown.captured_at, *size, corners, FACES)
    return Recognition(track_id, identity, seen)


def test_a_motion_event_lists_every_object_with_its_class_box_and_confidence() -> None:
    event = REPORTER.motion(
        frame(), found(((1, 2, 3, 4), 0.91239, 0), ((5, 6, 7, 8), 0.5, 1)), (), None
    )
    assert [thing.object_class for thing in event.detected_objects] == ["person", "car"]
    assert event.detected_objects[0].bbox.model_dump() == {"x1": 1, "y1": 2, "x2": 3, "y2": 4}
    assert event.confidence_scores == (0.9124, 0.5)
    assert (event.total_objects, event.frame_number, event.timestamp) == (2, 17, NOON)


@pytest.mark.parametrize("number", [2, 7, -1])
def test_a_class_that_the_labels_do_not_name_is_told_by_its_number(number: int) -> None:
    event = REPORTER.motion(frame(), found(((1, 2, 3, 4), 0.9, number)), (), None)
    assert event.detected_objects[0].object_class == f"class_{number}"


def test_an_object_says_which_track_follows_it_if_one_does() -> None:
    detections = found(((0, 0, 100, 100), 0.9, 0), ((300, 0, 400, 100), 0.9, 0))
    event = REPORTER.motion(frame(), detections, (track(9, (5, 0, 105, 100)),), None)
    assert [thing.track_id for thing in event.detected_objects] == [9, None]


def test_a_track_of_another_class_is_somebody_else() -> None:
    rider, bike = ((0, 0, 100, 100), 0.9, 0), ((0, 5, 100, 105), 0.8, 1)
    event = REPORTER.motion(frame(), found(rider, bike), (track(9, (0, 0, 100, 100)),), None)
    assert [thing.track_id for thing in event.detected_objects] == [9, None]


def test_a_track_follows_one_object_only() -> None:
    near, nearer = ((0, 0, 100, 100), 0.9, 0), ((10, 0, 110, 100), 0.8, 0)
    event = REPORTER.motion(frame(), found(near, nearer), (track(9, (9, 0, 109, 100)),), None)
    assert [thing.track_id for thing in event.detected_objects] == [None, 9]


def test_without_objects_or_tracks_there_is_nothing_to_match() -> None:
    event = REPORTER.motion(frame(), Detections.empty(), (track(9, (5, 0, 105, 100)),), None)
    assert event.detected_objects == ()
    assert event.total_objects == 0


def test_a_motion_event_stands_on_the_detector_and_its_thresholds() -> None:
    latencies = StageLatencies(capture_ms=1.0, detection_ms=20.0)
    evidence = REPORTER.motion(frame(), found(((1, 2, 3, 4), 0.9, 0)), (), latencies).evidence
    assert evidence is not None
    assert [(m.name, m.version, m.sha256) for m in evidence.models] == [
        ("object_detector", "3", "d" * 64)
    ]
    assert evidence.thresholds == {"score": 0.5, "nms": 0.45}
    assert (evidence.frame_width, evidence.frame_height) == (640, 360)
    assert evidence.latencies == latencies


def test_a_face_event_names_the_person_and_where_the_face_is() -> None:
    event = REPORTER.face(recognition(), None)
    assert (event.face_id, event.person_name, event.is_authorized) == ("ada", "Ada", True)
    assert (event.track_id, event.confidence, event.bbox.x1) == (4, 0.7123, 10.0)


def test_a_face_event_stands_on_models_limits_gallery_and_the_best_candidates() -> None:
    evidence = REPORTER.face(recognition(), None).evidence
    assert evidence is not None
    assert [model.name for model in evidence.models] == ["face_detector", "face_embedder"]
    assert evidence.thresholds == {
        "score": 0.5,
        "nms": 0.45,
        "match": 0.4,
        "margin": 0.05,
        "agreement": 2,
    }
    assert [(c.face_id, c.similarity) for c in evidence.candidates] == [
        ("ada", 0.7123),
        ("ben", 0.1),
    ]
    assert (evidence.gallery_version, evidence.faces) == ("g7", 3)


def test_a_stranger_has_no_name() -> None:
    stranger = replace(ADA, face_id="unknown-1", person_name=None, is_authorized=False)
    event = REPORTER.face(recognition(stranger), None)
    assert event.person_name is None
    assert b'"person_name":null' in encode(event)


def test_the_same_finding_gives_the_same_bytes() -> None:
    detections, tracks = found(((1, 2, 3, 4), 0.9, 0)), (track(1, (1, 2, 3, 4)),)
    assert encode(REPORTER.motion(frame(), detections, tracks, None)) == encode(
        REPORTER.motion(frame(), detections, tracks, None)
    )
    assert encode(REPORTER.face(recognition(), None)) == encode(REPORTER.face(recognition(), None))


def test_the_id_says_what_is_reported_and_not_how() -> None:
    detections = found(((1, 2, 3, 4), 0.9, 0))
    told = REPORTER.motion(frame(), detections, (), StageLatencies(capture_ms=3.0))
    again = REPORTER.motion(frame(), Detections.empty(), (), None)
    elsewhere = frame(captured_at=NOON.astimezone(timezone(timedelta(hours=9))))
    assert told.event_id == again.event_id
    assert told.event_id == REPORTER.motion(elsewhere, detections, (), None).event_id


def test_other_reports_have_other_ids() -> None:
    later, ben = NOON + timedelta(milliseconds=200), replace(ADA, face_id="ben", person_name="Ben")
    gate = replace(REPORTER, camera_id="gate")
    empty = Detections.empty()
    reports = [
        REPORTER.motion(frame(), empty, (), None),
        REPORTER.motion(frame(18), empty, (), None),
        REPORTER.motion(frame(17, later), empty, (), None),
        gate.motion(frame(), empty, (), None),
        REPORTER.face(recognition(), None),
        REPORTER.face(recognition(ben), None),
        REPORTER.face(recognition(track_id=5), None),
        camera_status(REPORTER.camera_id, CameraState.OFFLINE, "", NOON),
        camera_status(REPORTER.camera_id, CameraState.ONLINE, "", NOON),
    ]
    assert len({report.event_id for report in reports}) == len(reports)


@pytest.mark.parametrize("state", [CameraState.ONLINE, CameraState.OFFLINE, CameraState.ENDED])
def test_a_status_event_says_which_camera_is_how_and_why(state: CameraState) -> None:
    event = camera_status(REPORTER.camera_id, state, "the cable is out", NOON)
    assert (event.camera_id, event.component, event.status) == ("door", "camera", state.value)
    assert (event.detail, event.timestamp) == ("the cable is out", NOON)

"""The board: what is kept of cameras, views and events, and what is measured from it."""

import asyncio
from datetime import timedelta

import pytest

from eventbus.events import (
    BoundingBox,
    DetectedObject,
    Event,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
    event_id,
)
from orchestrator.board import EVENTS_KEPT, Board
from orchestrator.camera import CameraState
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.sentence import sentence
from tests.http.footage import NOON, camera, grey, mark, view

BOX = BoundingBox(x1=1, y1=2, x2=3, y2=4)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def motion(number: int, *classes: str) -> MotionDetectionEvent:
    moment = NOON + timedelta(seconds=number)
    found = tuple(DetectedObject(object_class=name, confidence=0.9, bbox=BOX) for name in classes)
    return MotionDetectionEvent(
        event_id=event_id("motion.detected", "door", moment, str(number)),
        timestamp=moment,
        camera_id="door",
        frame_number=number,
        detected_objects=found,
        total_objects=len(found),
        confidence_scores=(0.9,) * len(found),
    )


def face(name: str | None, *, authorized: bool = True) -> FaceRecognitionEvent:
    return FaceRecognitionEvent(
        event_id=event_id("face.recognized", "door", NOON, str(name)),
        timestamp=NOON,
        camera_id="door",
        frame_number=1,
        face_id="f-1",
        person_name=name,
        confidence=0.71,
        bbox=BOX,
        is_authorized=authorized,
        track_id=1,
    )


def status(word: str, detail: str = "") -> SystemStatusEvent:
    return SystemStatusEvent(
        event_id=event_id("system.status", "door", NOON, word),
        timestamp=NOON,
        camera_id="door",
        component="camera",
        status=word,
        detail=detail,
    )


def test_a_camera_is_connecting_until_something_is_known_and_shows_no_credential() -> None:
    board = Board()
    board.add_camera(camera(), CameraLedger())
    (shown,) = board.cameras()
    assert shown.state is CameraState.CONNECTING
    assert shown.address == "rtsp://10.0.0.7/live"
    assert (shown.fps, shown.latency_p95_s, shown.persons) == (0.0, None, 0)


def test_the_time_of_a_state_is_that_of_its_change_not_of_its_last_report() -> None:
    moments = iter(NOON + timedelta(seconds=s) for s in range(10))
    board = Board(now=lambda: next(moments))
    board.add_camera(camera(), CameraLedger())
    board.set_state("door", CameraState.OFFLINE, "refused")
    board.set_state("door", CameraState.OFFLINE, "no answer")
    (shown,) = board.cameras()
    assert (shown.since, shown.detail) == (NOON + timedelta(seconds=1), "no answer")


def test_rates_are_measured_from_the_ledger_over_the_last_seconds() -> None:
    clock, ledger = Clock(), CameraLedger()
    board = Board(clock=clock)
    board.add_camera(camera(), ledger)
    for _ in range(300):  # a minute at 25 decoded and 5 inspected frames a second
        for _ in range(5):
            ledger.decoded()
        ledger.inspected()
        clock.now_s += 0.2
        board.show("door", view())
    (shown,) = board.cameras()
    assert shown.fps == pytest.approx(5.0, abs=0.2)
    assert shown.decoded_fps == pytest.approx(25.0, abs=1.0)


def test_the_rate_of_a_camera_that_stopped_falls_to_zero_though_nothing_is_shown_any_more() -> None:
    clock, ledger = Clock(), CameraLedger()
    board = Board(clock=clock)
    board.add_camera(camera(), ledger)
    for _ in range(50):
        ledger.inspected()
        clock.now_s += 0.2
        board.show("door", view())
    for _ in range(7):
        clock.now_s += 1.0
        (shown,) = board.cameras()
    assert shown.fps == 0.0


def test_latency_percentiles_are_values_that_were_measured() -> None:
    board = Board()
    board.add_camera(camera(), CameraLedger())
    for hundredth in range(1, 101):
        board.record_latency("door", hundredth / 100)
    (shown,) = board.cameras()
    assert (shown.latency_p50_s, shown.latency_p95_s, shown.latency_p99_s) == (0.5, 0.95, 0.99)


def test_people_and_names_are_those_of_the_newest_view_while_it_is_fresh() -> None:
    clock = Clock()
    board = Board(clock=clock)
    board.add_camera(camera(), CameraLedger())
    board.set_state("door", CameraState.ONLINE, "")
    people = (mark("Bo", "known"), mark("Al", "unauthorised"), mark("stranger", "stranger"))
    board.show("door", view(*people, mark("car", "object")))
    (shown,) = board.cameras()
    assert (shown.persons, shown.names) == (3, ("Al", "Bo"))
    clock.now_s += 60
    (shown,) = board.cameras()
    assert (shown.persons, shown.names) == (0, ())


def test_showing_a_view_converts_no_pixel() -> None:
    board, picture = Board(), grey()
    board.add_camera(camera(), CameraLedger())
    board.show("door", view(mark(), picture=picture))
    board.cameras()
    assert picture.converted == 0


async def test_a_watcher_is_woken_by_the_next_view_and_skips_those_it_missed() -> None:
    board = Board()
    board.add_camera(camera(), CameraLedger())
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(board.next_view("door", 0))
        await asyncio.sleep(0)
        first = view(number=1)
        board.show("door", first)
    number, seen = waiting.result()
    assert seen is first
    for later in range(2, 6):
        board.show("door", view(number=later))
    _, seen = await board.next_view("door", number)
    assert seen.frame.frame_number == 5


async def test_whoever_watches_a_camera_that_is_removed_is_told() -> None:
    board = Board()
    board.add_camera(camera(), CameraLedger())

    async def watch() -> bool:
        try:
            await board.next_view("door", 0)
        except KeyError:
            return True
        return False

    async with asyncio.TaskGroup() as tasks:
        told = tasks.create_task(watch())
        await asyncio.sleep(0)
        board.remove_camera("door")
    assert told.result()


def test_a_camera_added_anew_never_repeats_a_view_number() -> None:
    board = Board()
    board.add_camera(camera(), CameraLedger())
    board.show("door", view())
    before, _ = board.view("door")
    board.add_camera(camera(), CameraLedger())
    board.show("door", view())
    after, _ = board.view("door")
    assert after > before


def test_late_news_of_a_removed_camera_is_passed_over() -> None:
    board = Board()
    board.show("gone", view())
    board.set_state("gone", CameraState.ONLINE, "")
    board.record_latency("gone", 0.1)
    assert board.cameras() == ()


def test_the_stream_of_motion_does_not_push_out_the_person_who_was_seen() -> None:
    board = Board()
    board.record_event(face("Anna"))
    for number in range(3 * EVENTS_KEPT):
        board.record_event(motion(number, "person"))
    kept = board.events(limit=10_000)
    assert len(kept) == EVENTS_KEPT + 1
    assert kept[-1] == face("Anna")
    assert board.events(motion=False) == (face("Anna"),)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (motion(1, "person", "person", "bus", "car"), "Saw 1 bus, 1 car, 2 people"),
        (motion(1), "Saw nothing"),
        (motion(1, "bus", "bus", "car", "car"), "Saw 2 buses, 2 cars"),
        (face("Anna"), "Recognised Anna (0.71)"),
        (face("Bo", authorized=False), "Recognised Bo, not authorised (0.71)"),
        (face(None, authorized=False), "A person who is not enrolled"),
        (status("offline", "no answer"), "Camera offline: no answer"),
        (status("online"), "Camera online"),
    ],
)
def test_every_event_has_words_for_people(event: Event, words: str) -> None:
    assert sentence(event) == words


def test_the_ledgers_are_handed_out_as_they_are() -> None:
    board, ledger = Board(), CameraLedger()
    board.add_camera(camera(), ledger)
    ledger.decoded()
    ledger.skipped(Skip.BUSY)
    ((name, coverage),) = board.ledgers()
    assert (name, coverage.decoded, coverage.skipped[Skip.BUSY]) == ("door", 1, 1)
    assert coverage.pending == 0

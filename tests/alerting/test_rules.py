"""Alert rules: which sightings and which camera states people hear of, and how often."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from alerting.hours import HoursInvalid
from alerting.rules import AlertConfig, AlertRules
from eventbus.events import (
    AlertEvent,
    AlertLevel,
    BoundingBox,
    Event,
    Evidence,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
    event_id,
)

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
BOX = BoundingBox(x1=0, y1=0, x2=10, y2=10)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def face(
    name: str | None,
    when: datetime = NOON,
    *,
    authorized: bool = False,
    camera_id: str = "lobby",
    track_id: int = 1,
) -> FaceRecognitionEvent:
    return FaceRecognitionEvent(
        event_id=event_id("face.recognized", camera_id, when, str(track_id)),
        timestamp=when,
        camera_id=camera_id,
        frame_number=1,
        face_id="unknown-1" if name is None else f"id-{name}",
        person_name=name,
        confidence=0.8,
        bbox=BOX,
        is_authorized=authorized,
        track_id=track_id,
        evidence=Evidence(gallery_version="7"),
    )


def status(state: str, when: datetime = NOON, *, component: str = "camera") -> SystemStatusEvent:
    return SystemStatusEvent(
        event_id=event_id("system.status", "lobby", when, state),
        timestamp=when,
        camera_id="lobby",
        component=component,
        status=state,
        detail="connection reset" if state == "offline" else "",
    )


def alerts(config: AlertConfig, *events: Event) -> list[AlertEvent]:
    rules = AlertRules(config, tz=UTC)
    return [alert for event in events for alert in rules.consider(event)]


def messages(config: AlertConfig, *events: Event) -> list[str]:
    return [alert.alert_message for alert in alerts(config, *events)]


def test_a_stranger_is_a_warning() -> None:
    (alert,) = alerts(AlertConfig(), face(None))
    assert alert.alert_level is AlertLevel.WARNING
    assert (alert.rule, alert.alert_message) == ("stranger", "Unknown person at lobby")


def test_somebody_enrolled_without_authorisation_is_critical() -> None:
    (alert,) = alerts(AlertConfig(), face("Ann"))
    assert alert.alert_level is AlertLevel.CRITICAL
    assert alert.rule == "unauthorized"
    assert alert.alert_message == "Ann, who is not authorised, at lobby"


def test_somebody_authorised_is_no_alert() -> None:
    assert alerts(AlertConfig(), face("Ann", authorized=True)) == []


def test_motion_alone_is_no_alert() -> None:
    motion = MotionDetectionEvent(
        event_id=UUID(int=1),
        timestamp=NOON,
        camera_id="lobby",
        frame_number=1,
        detected_objects=(),
        total_objects=0,
        confidence_scores=(),
    )
    assert alerts(AlertConfig(), motion) == []


def test_an_alert_is_not_alerted_about() -> None:
    (first,) = alerts(AlertConfig(), face(None))
    assert alerts(AlertConfig(), first) == []


@pytest.mark.parametrize(
    ("config", "left"),
    [
        (AlertConfig(strangers=False), ["unauthorized"]),
        (AlertConfig(unauthorized=False), ["stranger"]),
        (AlertConfig(strangers=False, unauthorized=False), []),
    ],
)
def test_each_kind_of_sighting_can_be_left_out(config: AlertConfig, left: list[str]) -> None:
    assert [alert.rule for alert in alerts(config, face(None), face("Ann"))] == left


def test_only_the_cameras_asked_for_raise_alerts_about_people() -> None:
    seen = alerts(
        AlertConfig(cameras=("gate", "yard")),
        face(None, camera_id="lobby"),
        face(None, camera_id="gate"),
    )
    assert [alert.camera_id for alert in seen] == ["gate"]


def test_hours_are_local_time() -> None:
    tokyo = timezone(timedelta(hours=9))
    night = AlertConfig(hours="21:00-06:00")
    assert alerts(night, face(None)) == []
    assert AlertRules(night, tz=tokyo).consider(face(None))


def test_without_a_time_zone_hours_are_those_of_the_process() -> None:
    local = NOON.astimezone()
    now = AlertConfig(hours=f"{local:%H:%M}-{local + timedelta(minutes=1):%H:%M}")
    assert AlertRules(now).consider(face(None))
    assert not AlertRules(now).consider(face(None, at(60)))


def test_hours_that_cannot_be_read_are_refused_at_the_start() -> None:
    with pytest.raises(HoursInvalid, match=r"hours 'at night'.*write 22:00-06:00"):
        AlertRules(AlertConfig(hours="at night"))


def test_one_person_who_stays_is_one_alert() -> None:
    seen = [face("Ann", at(second), track_id=second + 1) for second in range(60)]
    assert len(alerts(AlertConfig(cooldown_s=60), *seen)) == 1
    assert len(alerts(AlertConfig(cooldown_s=60), *seen, face("Ann", at(60)))) == 2


def test_strangers_at_one_camera_share_a_cool_down_and_named_people_do_not() -> None:
    first, second = face(None, track_id=1), face(None, at(1), track_id=2)
    ann, ben = face("Ann", at(2), track_id=3), face("Ben", at(3), track_id=4)
    assert messages(AlertConfig(), first, second, ann, ben) == [
        "Unknown person at lobby",
        "Ann, who is not authorised, at lobby",
        "Ben, who is not authorised, at lobby",
    ]


def test_the_same_stranger_at_two_cameras_is_told_for_each() -> None:
    assert len(alerts(AlertConfig(), face(None), face(None, camera_id="gate"))) == 2


def test_a_sighting_outside_the_hours_begins_no_cool_down() -> None:
    config = AlertConfig(hours="12:01-13:00")
    assert messages(config, face(None, at(59)), face(None, at(61))) == ["Unknown person at lobby"]


def test_an_alert_names_what_it_stands_on() -> None:
    sighting = face(None)
    (alert,) = alerts(AlertConfig(), sighting)
    assert alert.associated_events == (sighting.event_id,)
    assert (alert.timestamp, alert.camera_id) == (sighting.timestamp, sighting.camera_id)
    assert alert.evidence == sighting.evidence


def test_the_same_events_raise_the_same_alerts_with_the_same_ids() -> None:
    seen = (face(None), status("offline"), face("Ann", at(3)), status("online", at(4)))
    once, again = alerts(AlertConfig(), *seen), alerts(AlertConfig(), *seen)
    assert once == again
    assert len({alert.event_id for alert in once}) == len(once) == 4


def test_two_strangers_in_one_frame_have_two_ids_where_there_is_no_cool_down() -> None:
    both = alerts(AlertConfig(cooldown_s=0), face(None, track_id=1), face(None, track_id=2))
    assert len({alert.event_id for alert in both}) == 2


def test_a_lost_camera_is_a_warning_and_its_return_is_information() -> None:
    lost, back = alerts(AlertConfig(), status("offline"), status("online", at(5)))
    assert (lost.alert_level, lost.rule) == (AlertLevel.WARNING, "camera-offline")
    assert lost.alert_message == "Camera lobby is lost: connection reset"
    assert (back.alert_level, back.rule) == (AlertLevel.INFO, "camera-online")
    assert back.alert_message == "Camera lobby delivers pictures again"


def test_that_a_camera_starts_is_no_news() -> None:
    assert alerts(AlertConfig(), status("online")) == []


def test_a_lost_camera_is_told_whatever_the_hours_and_the_cameras_of_sightings() -> None:
    config = AlertConfig(cameras=("gate",), hours="22:00-06:00")
    assert messages(config, status("offline")) == ["Camera lobby is lost: connection reset"]


def test_the_same_state_is_told_once() -> None:
    assert (
        len(alerts(AlertConfig(cooldown_s=0), *[status("offline", at(s)) for s in range(9)])) == 1
    )


def test_a_flapping_camera_is_told_seldom_but_never_ends_in_an_untold_loss() -> None:
    flapping = [
        status("offline" if second % 2 == 0 else "online", at(second)) for second in range(119)
    ]
    told = alerts(AlertConfig(cooldown_s=60), *flapping)
    assert len(told) <= 5
    assert told[-1].rule == "camera-offline"


def test_a_camera_that_was_removed_is_news_when_it_comes_back() -> None:
    seen = (status("offline"), status("ended", at(1)), status("offline", at(2)))
    assert [alert.timestamp for alert in alerts(AlertConfig(), *seen)] == [NOON, at(2)]


def test_that_a_camera_is_back_is_news_where_another_process_told_its_loss() -> None:
    (back,) = AlertRules(AlertConfig(), lost=["lobby"]).consider(status("online"))
    assert (back.alert_level, back.rule) == (AlertLevel.INFO, "camera-online")


@pytest.mark.parametrize("component", ["triton", "redis", "kafka", "orchestrator"])
def test_other_parts_are_the_business_of_monitoring(component: str) -> None:
    assert alerts(AlertConfig(), status("offline", component=component)) == []


def test_a_degraded_camera_is_no_alert() -> None:
    assert alerts(AlertConfig(), status("degraded")) == []


def test_a_cool_down_forgotten_early_is_counted() -> None:
    rules = AlertRules(AlertConfig())
    for number in range(10_001):
        rules.consider(face(None, camera_id=f"camera-{number}"))
    assert rules.forgotten == 1

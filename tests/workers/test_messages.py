"""What supervisor and worker say: every setting and camera arrives as it was, passwords included, as one line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from orchestrator.camera import Camera
from orchestrator.settings import (
    AlertsSettings,
    DetectorSettings,
    EventsSettings,
    FacesSettings,
    HttpSettings,
    KafkaSettings,
    RedisSettings,
    Settings,
    TritonSettings,
)
from orchestrator.workers.messages import Assignment, Beat, Start

SECRET = "hunter2-is-secret"


def unusual() -> Settings:
    """Settings that differ from the defaults in every kind of value there is."""
    return Settings(
        environment="production",
        state_dir=Path("/srv/fess state"),
        models_mirror=Path("mirror"),
        redis=RedisSettings(host="10.0.0.1", password=SecretStr(SECRET)),
        triton=TritonSettings(url="10.0.0.2:8001", timeout=0.25),
        detector=DetectorSettings(classes=("person", "car"), device="cpu"),
        faces=FacesSettings(match_threshold=0.5, enabled=False),
        kafka=KafkaSettings(
            security_protocol="SASL_SSL", sasl_username="fess", sasl_password=SecretStr(SECRET)
        ),
        events=EventsSettings(bus="kafka", outbox=Path("/srv/outbox")),
        alerts=AlertsSettings(cameras=("lobby",), hours="22:00-06:00"),
        http=HttpSettings(host="0.0.0.0", token=SecretStr(SECRET)),
    )


def test_which_cameras_were_told_as_lost_arrives() -> None:
    told = Start.of(Settings(), {"lobby"}).model_dump_json()
    assert Start.model_validate_json(told).lost == ("lobby",)
    assert Start.of(Settings()).lost == ()


@pytest.mark.parametrize("settings", [Settings(), unusual()], ids=["defaults", "unusual"])
def test_settings_arrive_as_they_were(settings: Settings) -> None:
    line = Start.of(settings).model_dump_json()
    assert Start.model_validate_json(line).rebuilt() == settings


def test_passwords_arrive_too_and_stay_hidden_from_whoever_prints_them() -> None:
    arrived = Start.model_validate_json(Start.of(unusual()).model_dump_json()).rebuilt()
    assert arrived.redis.password is not None
    assert arrived.redis.password.get_secret_value() == SECRET
    assert SECRET not in repr(arrived)


def test_a_message_shows_nothing_of_itself_in_a_log_or_a_traceback() -> None:
    camera = Camera(camera_id="door", url=SecretStr(f"rtsp://admin:{SECRET}@10.0.0.7/live"))
    assert SECRET not in repr(Start.of(unusual()))
    assert SECRET not in str(Assignment.of((camera,)))


@pytest.mark.parametrize("message", [Start, Assignment])
def test_a_line_that_was_cut_off_is_refused_without_being_shown(
    message: type[Start | Assignment],
) -> None:
    line = Start.of(unusual()).model_dump_json()
    with pytest.raises(ValidationError) as refused:
        message.model_validate_json(line[: line.index(SECRET) + len(SECRET)])
    assert SECRET not in str(refused.value)


polygons = st.lists(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=5), max_size=2
)
cameras = st.builds(
    lambda name, url, fps, loop, regions: Camera.model_validate(
        {"camera_id": name, "url": url, "fps": fps, "loop": loop, "regions": regions}
    ),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.text(max_size=40),
    st.floats(0.1, 120),
    st.booleans(),
    polygons,
)


@given(st.lists(cameras, max_size=4))
def test_cameras_arrive_as_they_were_on_one_line(given_cameras: list[Camera]) -> None:
    line = Assignment.of(tuple(given_cameras)).model_dump_json().encode()
    assert b"\n" not in line
    assert Assignment.model_validate_json(line).rebuilt() == tuple(given_cameras)


def test_a_beat_tells_where_the_worker_listens() -> None:
    beat = Beat(http_port=8123, watching=True)
    assert Beat.model_validate_json(beat.model_dump_json()) == beat

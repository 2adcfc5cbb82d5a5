"""A camera: a name that fits a metric and a path, and an address that is never shown with its credentials."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from orchestrator.camera import Camera, redact

SECRET = "hunter2secret"


def camera(url: str = "rtsp://10.0.0.7/live", **fields: Any) -> Camera:
    return Camera.model_validate({"camera_id": "door", "url": url, **fields})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"rtsp://admin:{SECRET}@10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        (f"rtsp://{SECRET}@10.0.0.7/live", "rtsp://10.0.0.7/live"),
        (f"http://10.0.0.7/video?user=admin&pwd={SECRET}", "http://10.0.0.7/video"),
        (f"http://10.0.0.7/video#token={SECRET}", "http://10.0.0.7/video"),
        (f"rtsp://admin:{SECRET}@[::1]:8554/live", "rtsp://[::1]:8554/live"),
        (f"rtsp://admin:{SECRET}@host:port:port/live", "rtsp://host:port:port/live"),
        ("rtsp://[::1/live", "rtsp://[::1/live"),
        ("/srv/clips/yard@night.mp4", "/srv/clips/yard@night.mp4"),
        ("file:///srv/clips/yard@night.mp4", "file:///srv/clips/yard@night.mp4"),
        ("/dev/video0", "/dev/video0"),
        (f"admin:{SECRET}@10.0.0.7/live", "10.0.0.7/live"),
    ],
)
def test_its_address_is_shown_without_user_password_and_query(url: str, address: str) -> None:
    assert camera(url).address == address


@given(
    st.text("abc:/?#@%[]&=", max_size=6),
    st.text("abc:/?#@%[]&=", max_size=6),
    st.sampled_from(["rtsp", "http"]),
)
def test_a_password_with_characters_that_should_have_been_escaped_is_not_shown(
    before: str, after: str, scheme: str
) -> None:
    assert SECRET not in redact(f"{scheme}://admin:{before}{SECRET}{after}@10.0.0.7/live?a=b")


def test_its_description_does_not_hold_the_password() -> None:
    held = camera(f"rtsp://admin:{SECRET}@10.0.0.7/live")
    assert SECRET not in repr(held)
    assert SECRET not in held.model_dump_json()


@pytest.mark.parametrize("name", ["lobby", "7", "gate-2.north_side", "a" * 64])
def test_a_name_is_letters_digits_dots_and_dashes(name: str) -> None:
    assert Camera(camera_id=name, url=SecretStr("x.mp4")).camera_id == name


@pytest.mark.parametrize("name", ["", "-door", ".", "a/b", "../x", "a b", "a" * 65, "döör", "a\n"])
def test_a_name_that_fits_no_path_and_no_metric_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="camera_id"):
        Camera(camera_id=name, url=SecretStr("x.mp4"))


@pytest.mark.parametrize(
    "fields",
    [
        {"fps": 0},
        {"fps": 1000},
        {"fps": float("nan")},
        {"regions": [[[0, 0], [1, 1]]]},
        {"regions": [[[0, 0], [1, 0], [2, 2]]]},
        {"motion_sensitivity": -0.1},
        {"transport": "carrier pigeon"},
        {"colour": "green"},
    ],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        camera(**fields)


def test_two_cameras_are_the_same_if_and_only_if_every_setting_is() -> None:
    # The fleet leaves a camera alone as long as this holds.
    assert camera(fps=5) == camera()
    assert camera(fps=4) != camera()
    assert camera("rtsp://a:b@10.0.0.7/live") != camera("rtsp://a:c@10.0.0.7/live")

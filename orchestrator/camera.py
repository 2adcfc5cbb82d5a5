"""A configured source of frames."""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Fraction, Fraction]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3)]

_QUERY = re.compile("[?#]")


class CameraState(StrEnum):
    """What a camera's watcher was last told; `connecting` until it is told anything."""

    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"
    ENDED = "ended"


class Camera(BaseModel):
    """One camera of cameras.yaml. Polygons are in fractions of the picture, origin top left."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    camera_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    url: SecretStr
    """rtsp://, http(s):// (MJPEG, HLS), a file, or /dev/videoN. May hold a password, so it is never shown whole."""
    fps: float = Field(default=5.0, gt=0.0, le=120.0)
    """Frames a second that are inspected, at most."""
    enabled: bool = True
    """Whether it is watched."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries the video."""
    pace: Literal["live", "fast"] = "live"
    """For files: at the clip's own speed, or as fast as the machine can."""
    loop: bool = False
    """For files: begin again at the end."""
    regions: tuple[Polygon, ...] = ()
    """Where objects count: the middle of a box's lower edge must lie inside one. Empty: everywhere."""
    motion_masks: tuple[Polygon, ...] = ()
    """Where motion is ignored: a clock, a tree."""
    motion_sensitivity: Fraction | None = None
    """Overrides MOTION_SENSITIVITY."""

    @property
    def address(self) -> str:
        """The URL without its credentials and query: the only form that may be shown."""
        return redact(self.url.get_secret_value())


def redact(url: str) -> str:
    """A URL fit to be shown: user, password, query and fragment removed.

    A password that should have been escaped and was not may hold "/", "?", "#" and "@"; then rather too much
    is left out.
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    before, *query = _QUERY.split(rest, maxsplit=1)
    if ":" in before and "@" in "".join(query):
        before = "***"
    elif ":" in before or (separator and not before.startswith("/")):
        before = before.rpartition("@")[2]
    return f"{scheme}{separator}{before}"

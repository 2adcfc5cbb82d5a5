"""What the supervisor and a worker say to each other: JSON lines over the worker's stdin and stdout.

The pipe is private to the two processes, so it may carry passwords; nothing of it is logged.
"""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from orchestrator.camera import Camera
from orchestrator.settings import Settings

# A message holds passwords: neither it nor the line it was read from is ever printed.
_UNSEEN = ConfigDict(frozen=True, hide_input_in_errors=True)


class Start(BaseModel):
    """First line to a worker: every setting, as the supervisor resolved it.

    lost  cameras of the worker before it, whose loss the supervisor has told
    """

    model_config = _UNSEEN

    settings: dict[str, Any] = Field(repr=False)
    lost: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings, lost: Collection[str] = ()) -> "Start":
        return cls(settings=_revealed(settings.model_dump(mode="python")), lost=tuple(lost))

    def rebuilt(self) -> Settings:
        return Settings(**self.settings)


class Assignment(BaseModel):
    """Every further line: all the cameras this worker shall hold from now on."""

    model_config = _UNSEEN

    cameras: tuple[dict[str, Any], ...] = Field(repr=False)

    @classmethod
    def of(cls, cameras: tuple[Camera, ...]) -> "Assignment":
        return cls(cameras=tuple(_revealed(c.model_dump(mode="python")) for c in cameras))

    def rebuilt(self) -> tuple[Camera, ...]:
        return tuple(Camera.model_validate(fields) for fields in self.cameras)


class Beat(BaseModel):
    """A worker's sign of life: its event loop turns, and its HTTP server listens on this loopback port.

    watching  it has taken up its cameras, and tells itself what becomes of them
    """

    model_config = ConfigDict(frozen=True)

    http_port: int
    watching: bool


def _revealed(fields: Any) -> Any:
    """The same values as JSON can carry them, secrets in the clear."""
    match fields:
        case dict():
            return {key: _revealed(value) for key, value in fields.items()}
        case list() | tuple():
            return [_revealed(value) for value in fields]
        case SecretStr():
            return fields.get_secret_value()
        case str() | int() | float() | None:
            return fields
        case _:
            return str(fields)

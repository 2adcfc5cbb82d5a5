"""Frames, views and cameras made for a test, without a video."""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from orchestrator.board import Kind, Mark, View
from orchestrator.camera import Camera
from orchestrator.frame import Frame
from orchestrator.picture import ArrayPicture, Picture

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


class CountingPicture(ArrayPicture):
    """A picture that counts how often it was converted."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        super().__init__(rgb)
        self.converted = 0

    def rgb(self, width: int, height: int) -> NDArray[np.uint8]:
        self.converted += 1
        return super().rgb(width, height)


def camera(camera_id: str = "door", url: str = "rtsp://viewer:geheim@10.0.0.7/live") -> Camera:
    return Camera(camera_id=camera_id, url=SecretStr(url))


def grey(width: int = 640, height: int = 360, level: int = 90) -> CountingPicture:
    return CountingPicture(np.full((height, width, 3), level, np.uint8))


def mark(
    label: str = "person",
    kind: Kind = "person",
    xyxy: tuple[float, float, float, float] = (100, 80, 260, 300),
    confidence: float = 0.8,
    track_id: int = 1,
) -> Mark:
    return Mark(np.array(xyxy, np.float32), label, track_id, kind, confidence)


def view(
    *marks: Mark, picture: Picture | None = None, camera_id: str = "door", number: int = 1
) -> View:
    frame = Frame(camera_id, number, picture or grey(), number / 5, NOON, float(number))
    return View(frame, tuple(marks))


def views(count: int, marks: Iterable[Mark] = ()) -> list[View]:
    """Views that differ in brightness."""
    return [
        view(*marks, picture=grey(level=(40 * number) % 250), number=number)
        for number in range(1, count + 1)
    ]

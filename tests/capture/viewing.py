"""What the tests of capture share: a camera with its ledger and metrics, and frames collected from it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from orchestrator.camera import Camera
from orchestrator.capture.reader import Continuity
from orchestrator.capture.stream import ThreadedFrames, open_frames
from orchestrator.frame import Frame
from orchestrator.ledger import CameraLedger, Skip
from orchestrator.metrics import Metrics
from orchestrator.settings import CaptureSettings
from tests.servers.synthetic import number_of


@dataclass
class Viewing:
    """One camera as the composition root would set it up."""

    camera: Camera
    settings: CaptureSettings = field(default_factory=CaptureSettings)
    ledger: CameraLedger = field(default_factory=CameraLedger)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    continuity: Continuity = field(default_factory=Continuity)

    def open(
        self, *, lossless: bool = False, started_at: datetime | None = None
    ) -> AbstractAsyncContextManager[ThreadedFrames]:
        return open_frames(
            self.camera,
            settings=self.settings,
            ledger=self.ledger,
            metrics=self.metrics,
            continuity=self.continuity,
            lossless=lossless,
            started_at=started_at,
        )

    async def collect(
        self,
        count: int | None = None,
        *,
        lossless: bool = False,
        started_at: datetime | None = None,
        each: Callable[[Frame], None] | None = None,
    ) -> list[Frame]:
        """Inspect `count` frames, or all until the file ends."""
        seen: list[Frame] = []
        async with self.open(lossless=lossless, started_at=started_at) as frames:
            async for frame in frames:
                self.ledger.inspected()
                seen.append(frame)
                if each is not None:
                    each(frame)
                if len(seen) == count:
                    break
        return seen

    def skipped(self, cause: Skip) -> int:
        return self.ledger.coverage().skipped[cause]

    @property
    def pending(self) -> int:
        return self.ledger.coverage().pending

    def counted(self, metric: str) -> float:
        """A counter of this camera, as it is scraped."""
        labels = {"camera_id": self.camera.camera_id}
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0


def view(url: str | Path, settings: CaptureSettings | None = None, **camera: Any) -> Viewing:
    made = Camera.model_validate({"camera_id": "door", "url": str(url), **camera})
    return Viewing(made, settings or CaptureSettings())


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers drawn in synthetic pictures."""
    return [number_of(frame.picture.luma(1)) for frame in frames]

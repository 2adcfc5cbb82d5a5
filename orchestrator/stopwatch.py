"""Times one frame's way through the stages: for the metrics, and as evidence on its events."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from eventbus.events import StageLatencies
from orchestrator.metrics import Metrics

Stage = Literal["motion", "detection", "tracking", "recognition", "events"]


class Stopwatch:
    def __init__(
        self, received_s: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._received_s = received_s
        self._metrics = metrics
        self._clock = clock
        self._capture_ms = self._age_ms()
        self._ended_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time a stage that ends normally; one that raises is not observed."""
        began_s = self._clock()
        yield
        self._metrics.stage_seconds.labels(name).observe(self._clock() - began_s)
        self._ended_ms[name] = self._age_ms()

    def latencies(self) -> StageLatencies:
        """Milliseconds from the decoded frame to the end of each stage that ran."""
        return StageLatencies(
            capture_ms=self._capture_ms,
            detection_ms=self._ended_ms.get("detection"),
            tracking_ms=self._ended_ms.get("tracking"),
            recognition_ms=self._ended_ms.get("recognition"),
        )

    def _age_ms(self) -> float:
        return round((self._clock() - self._received_s) * 1000, 2)

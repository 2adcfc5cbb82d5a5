"""The stopwatch: how long each stage took, and how old the frame was when it ended."""

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.errors import InferenceStale
from orchestrator.metrics import Metrics
from orchestrator.stopwatch import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watch(clock: Clock, registry: CollectorRegistry) -> Stopwatch:
    """Of a frame that was decoded 20 ms ago."""
    return Stopwatch(clock.now_s - 0.02, Metrics(registry), clock)


def seconds(registry: CollectorRegistry, stage: str) -> tuple[float | None, float | None]:
    """How often a stage was observed, and for how long in all."""
    return (
        registry.get_sample_value("fess_stage_seconds_count", {"stage": stage}),
        registry.get_sample_value("fess_stage_seconds_sum", {"stage": stage}),
    )


def test_the_evidence_counts_from_the_decoded_frame(watch: Stopwatch, clock: Clock) -> None:
    with watch.stage("detection"):
        clock.now_s += 0.05
    with watch.stage("tracking"):
        clock.now_s += 0.001
    told = watch.latencies()
    assert (told.capture_ms, told.detection_ms, told.tracking_ms) == (20.0, 70.0, 71.0)


def test_the_metric_counts_the_stage_alone(
    watch: Stopwatch, clock: Clock, registry: CollectorRegistry
) -> None:
    with watch.stage("detection"):
        clock.now_s += 0.05
    count, total_s = seconds(registry, "detection")
    assert count == 1
    assert total_s == pytest.approx(0.05)


def test_a_stage_that_did_not_run_has_no_latency(watch: Stopwatch) -> None:
    with watch.stage("detection"):
        pass
    assert watch.latencies().recognition_ms is None


def test_a_stage_that_fails_is_not_observed(watch: Stopwatch, registry: CollectorRegistry) -> None:
    with pytest.raises(InferenceStale), watch.stage("detection"):
        raise InferenceStale("late")
    assert seconds(registry, "detection") == (None, None)
    assert watch.latencies().detection_ms is None

"""Several workers' health and metrics as one document each, in which nothing is lost or counted twice."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.camera import CameraState
from orchestrator.health import (
    CameraHealth,
    CamerasHealth,
    ComponentHealth,
    Components,
    HealthDocument,
    LedgerHealth,
    Status,
    SystemHealth,
)
from orchestrator.ledger import Coverage
from orchestrator.metrics import Metrics
from orchestrator.workers.merging import merged_health, merged_metrics, starting

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
WELL = ComponentHealth(healthy=True, latency_ms=2.0)
ILL = ComponentHealth(healthy=False, error="no answer")
MACHINE = SystemHealth(
    healthy=True,
    cpu_percent=5.0,
    memory_percent=40.0,
    memory_available_mb=4000.0,
    disk_percent=50.0,
    disk_free_gb=100.0,
)


def document(
    status: Status = "healthy",
    *,
    triton: ComponentHealth = WELL,
    redis: ComponentHealth = WELL,
    outbox: ComponentHealth = WELL,
    online: tuple[str, ...] = (),
    offline: tuple[str, ...] = (),
    timestamp: datetime = NOON,
) -> HealthDocument:
    states = dict.fromkeys(online, CameraState.ONLINE) | dict.fromkeys(offline, CameraState.OFFLINE)
    cameras = {
        name: CameraHealth(state=state, detail="", fps=5.0, ledger=LedgerHealth.of(Coverage()))
        for name, state in states.items()
    }
    return HealthDocument(
        status=status,
        timestamp=timestamp,
        components=Components(
            redis=redis,
            kafka=ComponentHealth(healthy=True, enabled=False),
            triton=triton,
            outbox=outbox,
            cameras=CamerasHealth(
                healthy=not offline, online=len(online), total=len(states), cameras=cameras
            ),
            system=MACHINE,
        ),
    )


def extra(merged: HealthDocument, name: str) -> ComponentHealth:
    found = (merged.components.model_extra or {})[name]
    assert isinstance(found, ComponentHealth)
    return found


def test_workers_that_are_well_are_well_together() -> None:
    merged = merged_health({0: document(online=("a",)), 1: document(online=("b", "c"))}, [], {})
    assert merged.status == "healthy"
    assert set(merged.components.cameras.cameras) == {"a", "b", "c"}
    assert (merged.components.cameras.online, merged.components.cameras.total) == (3, 3)
    assert extra(merged, "workers").healthy


def test_a_part_that_is_ill_in_one_worker_is_ill() -> None:
    merged = merged_health({0: document(), 1: document("degraded", redis=ILL, outbox=ILL)}, [], {})
    assert merged.status == "degraded"
    assert merged.components.redis == ILL
    assert extra(merged, "outbox") == ILL
    assert merged.components.triton == WELL


def test_of_answers_that_are_well_the_slowest_is_told() -> None:
    slow = ComponentHealth(healthy=True, latency_ms=80.0)
    merged = merged_health({0: document(triton=slow), 1: document()}, [], {})
    assert merged.components.triton.latency_ms == 80.0


def test_a_worker_that_does_not_answer_degrades_and_is_named() -> None:
    merged = merged_health({0: document(online=("a",)), 2: document()}, [1], {})
    assert merged.status == "degraded"
    workers = extra(merged, "workers")
    assert (workers.healthy, workers.error) == (False, "worker 1 does not answer")


def test_one_worker_that_lost_all_its_cameras_is_not_all_of_them() -> None:
    merged = merged_health(
        {0: document("unhealthy", offline=("a",)), 1: document(online=("b",))}, [], {}
    )
    assert merged.status == "degraded"
    assert not merged.components.cameras.healthy


@pytest.mark.parametrize(
    "documents",
    [
        {0: document("unhealthy", offline=("a",)), 1: document("unhealthy", offline=("b",))},
        {0: document("unhealthy", triton=ILL, online=("a",)), 1: document(online=("b",))},
    ],
    ids=["no camera", "no Triton"],
)
def test_where_nothing_is_inspected_all_is_unhealthy(documents: dict[int, HealthDocument]) -> None:
    assert merged_health(documents, [], {}).status == "unhealthy"


def test_the_document_is_as_old_as_its_newest_part() -> None:
    later = NOON + timedelta(seconds=3)
    assert merged_health({0: document(), 1: document(timestamp=later)}, [], {}).timestamp == later


def test_before_any_worker_answers_it_is_unhealthy_and_says_why() -> None:
    told = starting(NOON, {})
    assert told.status == "unhealthy"
    assert not told.ready
    assert told.components.triton.error == "the workers are starting"


Sample = tuple[str, tuple[tuple[str, str], ...], float]


def samples(body: bytes) -> set[Sample]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def scrape(detections: int) -> bytes:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.detections.labels("door", "person").inc(detections)
    metrics.detection_latency.labels("door").observe(0.03)
    metrics.fps.labels('a "quoted" \\ name\n').set(math.inf)
    return generate_latest(registry)


def test_every_sample_of_every_worker_is_there_once_under_the_workers_number() -> None:
    bodies = {0: scrape(3), 1: scrape(4)}
    merged = merged_metrics(b"", bodies)
    expected = {
        (name, tuple(sorted([*labels, ("worker", str(worker))])), value)
        for worker, body in bodies.items()
        for name, labels, value in samples(body)
    }
    assert samples(merged) == expected
    assert len(merged.decode().split("\n# EOF")[0].splitlines()) == len(
        set(merged.decode().splitlines())
    )


def test_the_supervisors_own_samples_come_first_under_its_name() -> None:
    registry = CollectorRegistry()
    Gauge("fess_own", "Own.", registry=registry).set(7)
    merged = merged_metrics(generate_latest(registry), {0: scrape(1)})
    assert ("fess_own", (("worker", "supervisor"),), 7.0) in samples(merged)
    assert merged.startswith(b"# HELP fess_own Own.")


def test_types_and_words_of_a_metric_stay_as_they_are() -> None:
    families = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(merged_metrics(b"", {0: scrape(1)}).decode())
    }
    alone = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(scrape(1).decode())
    }
    assert families == alone


def test_without_a_worker_there_is_nothing_to_tell() -> None:
    assert merged_metrics(b"", {}) == b""

"""Documents every metric from the objects that export it: docs/metrics.md."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from orchestrator.board import Board
from orchestrator.metrics import LATENCY_BUCKETS, STAGE_BUCKETS, Metrics
from orchestrator.telemetry import LedgerCollector

INTRODUCTION = """\
# Metrics

<!-- {generated} -->

`/metrics` answers in the text format of Prometheus. Labels are small fixed sets: never a track, a person or an
address. Behind several workers (`fess run --workers N`) every sample also carries `worker`. What to watch and when to
worry is in [monitoring.md](monitoring.md).

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_document(generated: str) -> str:
    rows = "".join(f"| {' | '.join(row)} |\n" for row in sorted(_rows()))
    buckets = (
        "\nBuckets of `fess_detection_latency_seconds` and `fess_event_latency_seconds`, in seconds: "
        f"{_listed(LATENCY_BUCKETS)};\nof the other histograms: {_listed(STAGE_BUCKETS)}.\n"
    )
    return INTRODUCTION.format(generated=generated) + rows + buckets


def _rows() -> Iterator[tuple[str, ...]]:
    metrics = Metrics(CollectorRegistry())
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for family in metric.describe():
                yield _row(family.name, family.type, metric._labelnames, family.documentation)
    for family in LedgerCollector(Board()).describe():
        labels = getattr(family, "_labelnames", ())  # the library has no public name for them
        yield _row(family.name, family.type, labels, family.documentation)


def _row(name: str, kind: str, labels: tuple[str, ...], meaning: str) -> tuple[str, ...]:
    exported = f"{name}_total" if kind == "counter" else name
    return f"`{exported}`", kind, ", ".join(f"`{label}`" for label in labels), meaning


def _listed(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)

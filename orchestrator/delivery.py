"""The outbox of a process, with what it sends and loses in the metrics."""

import time

from eventbus.bus import EventBus, Record
from eventbus.outbox import Outbox
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings


def make_outbox(bus: EventBus, settings: Settings, metrics: Metrics) -> Outbox:
    def sent(record: Record) -> None:
        metrics.kafka_events_sent.labels(record.topic, "acknowledged").inc()
        metrics.event_latency.labels(record.topic).observe(
            max(time.time() - record.timestamp_s, 0.0)
        )

    def dropped(topic: str, cause: str, events: int) -> None:
        metrics.kafka_events_sent.labels(topic, "dropped").inc(events)
        metrics.events_dropped.labels(topic, cause).inc(events)

    return Outbox(
        bus,
        settings.events.outbox,
        settings.events.outbox_max_bytes,
        on_sent=sent,
        on_dropped=dropped,
    )

"""The outbox of a process, with what it sends and loses in the metrics.

Each process has a folder of its own: `fess run` the one of the settings, worker N `worker-N` below it.
"""

import logging
import time
from collections.abc import Collection
from pathlib import Path

from eventbus.bus import EventBus, Record
from eventbus.outbox import Outbox
from orchestrator.buses import make_bus
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings

log = logging.getLogger(__name__)


def worker_outbox(settings: Settings, number: int) -> Settings:
    """The same settings, with a folder for one worker's events."""
    return _at(settings, settings.events.outbox / f"worker-{number}")


async def deliver_leftovers(settings: Settings, metrics: Metrics, in_use: Collection[Path]) -> None:
    """Publish what processes left that are not there any more, as when there are fewer workers than before."""
    root = settings.events.outbox
    folders = [folder for folder in (root, *sorted(root.glob("worker-*"))) if folder.is_dir()]
    bus = make_bus(settings)
    try:
        for folder in folders:
            if folder in in_use:
                continue
            outbox = make_outbox(bus, _at(settings, folder), metrics)
            try:
                delivered = await outbox.deliver_rest()
            finally:
                outbox.close()
            if delivered:
                log.info("%d events left in %s by an earlier run are published", delivered, folder)
    finally:
        await bus.close()


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


def _at(settings: Settings, folder: Path) -> Settings:
    events = settings.events.model_copy(update={"outbox": folder})
    return settings.model_copy(update={"events": events})

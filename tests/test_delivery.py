"""Events wait in a folder a process, and what a process left is published by the next run, however it is shaped."""

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from eventbus.events import SystemStatusEvent, decode, event_id
from orchestrator.buses import make_bus
from orchestrator.delivery import deliver_leftovers, make_outbox, worker_outbox
from orchestrator.embedded.redis import EmbeddedRedis
from orchestrator.metrics import Metrics
from orchestrator.settings import EventsSettings, KafkaSettings, RedisSettings, Settings

EVENTS = 5
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(second: int) -> SystemStatusEvent:
    moment = NOON + timedelta(seconds=second)
    return SystemStatusEvent(
        event_id=event_id("system.status", "lobby", moment, "offline"),
        timestamp=moment,
        camera_id="lobby",
        component="camera",
        status="offline",
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def settings(redis_server: EmbeddedRedis, tmp_path: Path) -> Settings:
    topic = f"leftovers-{tmp_path.name}"
    return Settings(
        redis=RedisSettings(
            host=redis_server.host,
            port=redis_server.port,
            password=SecretStr(redis_server.password),
        ),
        events=EventsSettings(outbox=tmp_path / "outbox"),
        kafka=KafkaSettings(topic_status=topic),
    )


async def leave(settings: Settings, metrics: Metrics) -> None:
    """A process whose bus was away when it ended."""
    away = settings.redis.model_copy(update={"port": 9})
    bus = make_bus(settings.model_copy(update={"redis": away}))
    outbox = make_outbox(bus, settings, metrics)
    for second in range(EVENTS):
        outbox.put(status(second))
    await outbox.drain(1.0)
    outbox.close()
    await bus.close()


async def published(settings: Settings) -> list[datetime]:
    bus = make_bus(settings)
    moments = []
    async with aclosing(bus.subscribe([bus.topics.status], "test")) as deliveries:
        async for delivery in deliveries:
            moments.append(decode(delivery.payload).timestamp)
            if len(moments) == EVENTS:
                break
    await bus.close()
    return moments


async def test_a_worker_that_is_not_there_any_more_has_its_events_published(
    settings: Settings, metrics: Metrics
) -> None:
    await leave(worker_outbox(settings, 3), metrics)
    await deliver_leftovers(settings, metrics, in_use={settings.events.outbox})
    assert await published(settings) == [NOON + timedelta(seconds=n) for n in range(EVENTS)]


async def test_a_single_process_that_is_now_several_has_its_events_published(
    settings: Settings, metrics: Metrics
) -> None:
    await leave(settings, metrics)
    held = {worker_outbox(settings, number).events.outbox for number in range(2)}
    await deliver_leftovers(settings, metrics, in_use=held)
    assert len(await published(settings)) == EVENTS


async def test_a_folder_in_use_is_left_alone(settings: Settings, metrics: Metrics) -> None:
    await leave(worker_outbox(settings, 0), metrics)
    held = worker_outbox(settings, 0).events.outbox
    before = sorted(path.stat().st_size for path in held.iterdir())
    await deliver_leftovers(settings, metrics, in_use={held})
    assert sorted(path.stat().st_size for path in held.iterdir()) == before


def test_workers_never_share_a_folder(settings: Settings) -> None:
    folders = {worker_outbox(settings, number).events.outbox for number in range(8)}
    assert len(folders) == 8

"""`fess check` beside a real Kafka broker."""

import uuid

import pytest

from orchestrator.checking import servers
from orchestrator.checking.finding import Verdict
from orchestrator.settings import EventsSettings, KafkaSettings, Settings
from tests.servers.kafka import KafkaServer

pytestmark = pytest.mark.xdist_group("kafka")


async def test_topics_that_are_not_there_yet_are_named_with_the_mend(
    kafka_server: KafkaServer,
) -> None:
    alerts = f"{uuid.uuid4().hex}.alerts"
    settings = Settings(
        events=EventsSettings(bus="kafka"),
        kafka=KafkaSettings(bootstrap_servers=kafka_server.address, topic_alerts=alerts),
    )

    broker, topics = await servers.bus(settings)

    assert (broker.verdict, topics.verdict) == (Verdict.OK, Verdict.WARNING)
    assert alerts in topics.what
    assert topics.mend.startswith("create them")

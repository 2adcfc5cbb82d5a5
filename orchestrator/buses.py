"""Makes the event bus that the settings name."""

from eventbus.bus import EventBus
from eventbus.kafka import KafkaBus
from eventbus.kafka_config import KafkaConfig
from eventbus.memory import MemoryBus
from eventbus.redis_streams import RedisStreamsBus, RedisStreamsConfig
from eventbus.topics import Topics
from orchestrator.settings import KafkaSettings, RedisSettings, Settings


def make_bus(settings: Settings) -> EventBus:
    """A client that connects on first use; a server that is away is the outbox's concern."""
    topics = _topics(settings.kafka)
    match settings.events.bus:
        case "kafka":
            return make_kafka_bus(settings)
        case "redis":
            return RedisStreamsBus(
                _redis(settings.redis, settings.events.stream_max_length), topics
            )
        case "memory":
            return MemoryBus(topics)


def make_kafka_bus(settings: Settings) -> KafkaBus:
    return KafkaBus(_kafka(settings.kafka), _topics(settings.kafka))


def _topics(kafka: KafkaSettings) -> Topics:
    return Topics(kafka.topic_motion, kafka.topic_faces, kafka.topic_alerts, kafka.topic_status)


def _kafka(kafka: KafkaSettings) -> KafkaConfig:
    password = kafka.sasl_password
    return KafkaConfig(
        bootstrap_servers=kafka.bootstrap_servers,
        acks=kafka.acks,
        compression=kafka.compression,
        linger_ms=kafka.linger_ms,
        batch_size=kafka.batch_size,
        max_request_size=kafka.max_request_size,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
    )


def _redis(redis: RedisSettings, stream_max_length: int) -> RedisStreamsConfig:
    return RedisStreamsConfig(
        host=redis.host,
        port=redis.port,
        db=redis.db,
        password=redis.password.get_secret_value() if redis.password else None,
        max_connections=redis.max_connections,
        socket_timeout_s=redis.socket_timeout,
        stream_max_length=stream_max_length,
    )

"""Triton, Redis with the gallery, and the event bus: each is asked something, under a time limit."""

import asyncio
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from eventbus.bus import BusError
from orchestrator.app import make_triton_client
from orchestrator.buses import make_kafka_bus
from orchestrator.checking.finding import Finding
from orchestrator.checking.models import embedder_source
from orchestrator.embedded.triton import EmbeddedTriton
from orchestrator.errors import FessError, InferenceInvalid
from orchestrator.inference.models import Models, load_models
from orchestrator.metrics import Metrics
from orchestrator.models import check_served
from orchestrator.recognition.connection import connect, ping
from orchestrator.recognition.enrolled import EnrolledPerson
from orchestrator.recognition.gallery_store import GalleryStore
from orchestrator.servers import open_servers
from orchestrator.settings import Settings

ANSWER_S = 10.0
START_S = 120.0  # a first start loads and warms three models, perhaps on a busy machine


async def triton(settings: Settings) -> list[Finding]:
    """Ask the Triton of the settings, or start the embedded one, and let it describe every model."""
    embedded = not settings.triton.url
    try:
        async with asyncio.timeout(START_S if embedded else ANSWER_S), AsyncExitStack() as stack:
            if embedded:
                server = await stack.enter_async_context(
                    EmbeddedTriton(
                        settings.triton.model_repository,
                        settings.state_dir,
                        device=settings.detector.device,
                    )
                )
                named = settings.triton.model_copy(update={"url": server.grpc_url})
                settings = settings.model_copy(update={"triton": named})
            client = make_triton_client(settings, Metrics(CollectorRegistry()))
            stack.push_async_callback(client.close)
            latency_s = await client.check()
            models = await load_models(client, settings)
            beside = await _beside(settings, models)
    except TimeoutError:
        return [_silent("triton", "Triton", "look at its log", START_S if embedded else ANSWER_S)]
    except FessError as error:
        return [Finding.of_error("triton", error)]
    where = "embedded, starts" if embedded else settings.triton.url
    count = len(models.labels)
    what = f"{where}, answers in {latency_s * 1000:.1f} ms; {count} class{'es' * (count != 1)}"
    return [Finding.ok("triton", what), *beside]


async def _beside(settings: Settings, models: Models) -> list[Finding]:
    """What is wrong with the models although they answer: what /health calls degraded."""
    try:
        await check_served(settings, models)
    except InferenceInvalid as error:
        what, _, mend = str(error).partition("; ")
        return [Finding.warning("models", what, mend)]
    return []


async def redis(settings: Settings) -> list[Finding]:
    """Ask the Redis of the settings, or the embedded one, and read the gallery from it."""
    embedded = not settings.redis.host
    try:
        async with (
            asyncio.timeout(START_S if embedded else ANSWER_S),
            open_servers(settings, triton=False, on_progress=lambda _: None) as servers,
        ):
            client = connect(servers.settings.redis)
            try:
                latency_ms = await ping(client)
                people = await GalleryStore(client).people()
            finally:
                await client.aclose()
    except TimeoutError:
        return [_silent("redis", "Redis", "check REDIS_HOST and REDIS_PORT", ANSWER_S)]
    except FessError as error:
        return [Finding.of_error("redis", error)]
    where = "embedded" if embedded else f"{settings.redis.host}:{settings.redis.port}"
    answer = Finding.ok("redis", f"{where}, answers in {latency_ms:.1f} ms")
    return [answer, _gallery(settings, people)] if settings.faces.enabled else [answer]


def _gallery(settings: Settings, people: tuple[EnrolledPerson, ...]) -> Finding:
    if not people:
        mend = "`fess faces enrol NAME PICTURE`; until then everybody is a stranger"
        return Finding.warning("gallery", "nobody is enrolled", mend)
    source = embedder_source(settings)
    foreign = [person.person_name for person in people if source not in (None, person.model.sha256)]
    if foreign:
        what = f"{len(foreign)} of {len(people)} were enrolled with another model: {foreign[0]}"
        mend = "enrol them anew; faces of two models cannot be compared"
        return Finding.warning("gallery", what + ", ..." * (len(foreign) > 1), mend)
    return Finding.ok("gallery", f"{len(people)} enrolled")


async def bus(settings: Settings) -> list[Finding]:
    """Ask the event bus, where it is not the Redis that is asked already."""
    match settings.events.bus:
        case "redis":
            return []
        case "memory":
            mend = "set EVENTS_BUS=redis or kafka to keep them"
            return [Finding.warning("events", "no event outlives the process", mend)]
        case "kafka":
            return await _kafka(settings)


async def _kafka(settings: Settings) -> list[Finding]:
    client = make_kafka_bus(settings)
    servers = settings.kafka.bootstrap_servers
    try:
        async with asyncio.timeout(ANSWER_S):
            latency_s = await client.check()
            missing = await client.missing()
    except TimeoutError:
        mend = (
            "check KAFKA_BOOTSTRAP_SERVERS and that the broker advertises an address you can reach"
        )
        return [_silent("kafka", f"Kafka at {servers}", mend, ANSWER_S)]
    except BusError as error:  # it tells of each broker; which setting it is, they do not know
        mend = "check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_SECURITY, SASL and SSL settings, and that the broker runs"
        return [Finding.failed("kafka", str(error), mend)]
    finally:
        await client.close()
    answer = Finding.ok("kafka", f"{servers}, answers in {latency_s * 1000:.1f} ms")
    if not missing:
        return [answer]
    mend = "create them, unless the broker makes topics by itself (auto.create.topics.enable)"
    return [answer, Finding.warning("topics", f"not there: {', '.join(missing)}", mend)]


def _silent(part: str, who: str, mend: str, limit_s: float) -> Finding:
    return Finding.failed(part, f"{who} did not answer within {limit_s:g} s", mend)

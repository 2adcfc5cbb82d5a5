"""The seam to every event bus: what is published, what is delivered, and what may fail.

BusError
├── PublishError     not acknowledged in time   the outbox keeps the rest and tries again
├── EventRefused     will never be accepted     the event is dropped and counted; a repeat would not help
└── BusUnavailable   no answer to a question    health is degraded; the next question may be answered

No exception of a client library crosses this seam, and no message carries a credential.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eventbus.events import Event
from eventbus.topics import Topics


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it travels.

    key          camera id: events of one key keep their order
    event_id     the event's id, or a stable id of a dead letter
    payload      UTF-8 JSON, or whatever a dead letter was
    timestamp_s  when the frame was captured, seconds since the epoch, UTC
    headers      beside the payload; dead letters say there what is wrong with them
    """

    topic: str
    key: str
    event_id: str
    event_type: str
    payload: bytes
    timestamp_s: float
    headers: tuple[tuple[str, str], ...] = ()


class BusError(Exception):
    """Root of the tree."""


class BusUnavailable(BusError): ...


class PublishError(BusError):
    """Some records are not known to be durable. They may be: a repeat is dropped by its id.

    remaining  what was not acknowledged, in order
    """

    def __init__(self, reason: str, acknowledged: int, remaining: Sequence[Record]) -> None:
        super().__init__(
            f"{reason} ({acknowledged} acknowledged, {len(remaining)} remain"
            f"{', first ' + remaining[0].event_id if remaining else ''})"
        )
        self.reason = reason
        self.acknowledged = acknowledged
        self.remaining = tuple(remaining)


class EventRefused(BusError):
    """Some records will never be accepted: too large, or not serialisable.

    refused    those records (empty where the event could not even be encoded)
    remaining  records of the same call that were neither refused nor acknowledged, in order
    """

    def __init__(
        self, reason: str, refused: Sequence[Record] = (), remaining: Sequence[Record] = ()
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = tuple(refused)
        self.remaining = tuple(remaining)


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One record at a consumer.

    offset  its place in the topic, as the bus names it: `partition:offset` or a stream id
    ack     says that it is done with; what is not acknowledged is delivered again
    """

    topic: str
    key: str
    offset: str
    payload: bytes
    ack: Callable[[], Awaitable[None]]
    headers: tuple[tuple[str, str], ...] = field(default=())


class EventBus(Protocol):
    """memory.py, redis_streams.py and kafka.py implement it."""

    @property
    def topics(self) -> Topics: ...

    async def publish(self, events: Sequence[Event]) -> None:
        """Return once every event is acknowledged. Raises PublishError, EventRefused."""
        ...

    async def send(self, records: Sequence[Record]) -> None:
        """Publish what is encoded already; the outbox and dead letters use it.

        Records of one topic and key keep their order. Raises PublishError, EventRefused.
        """
        ...

    async def check(self) -> float:
        """Ask the bus something small; seconds until it answered. Raises BusUnavailable."""
        ...

    def subscribe(
        self, topics: Sequence[str], group: str | None, *, consumer: str = ""
    ) -> AsyncGenerator[Delivery, None]:
        """Deliver what the group has not acknowledged, from the oldest, for ever.

        Close it with `contextlib.aclosing`. A bus that is away is waited for. `consumer` names this
        member of the group; empty: one name for each process. Who belongs to no group (None) looks on:
        everything is delivered, nothing need be acknowledged, and the bus keeps nothing of it.
        """
        ...

    async def close(self) -> None: ...


def record_of(event: Event, topics: Topics) -> Record:
    """Encode an event for its topic. Raises EventRefused if it cannot be encoded."""
    try:
        payload = event.model_dump_json().encode()
    except ValueError as error:  # pydantic's serialisation errors, lone surrogates
        raise EventRefused(
            f"{event.event_type} {event.event_id} cannot be serialised: {error}"
        ) from error
    return Record(
        topic=topics.of(event.event_type),
        key=event.camera_id,
        event_id=str(event.event_id),
        event_type=event.event_type,
        payload=payload,
        timestamp_s=event.timestamp.timestamp(),
    )


def refuse_oversize(records: Sequence[Record], max_bytes: int) -> None:
    """Raise EventRefused for records whose payload is too large, before anything is sent.

    Dead letters are let pass: they are as large as what the bus once accepted.
    """
    fits = [
        len(record.payload) <= max_bytes or record.topic.endswith(Topics.DEAD_LETTER)
        for record in records
    ]
    if all(fits):
        return
    refused = [record for record, ok in zip(records, fits, strict=True) if not ok]
    largest = max(len(record.payload) for record in refused)
    raise EventRefused(
        f"{len(refused)} event(s) of up to {largest} bytes; the bus takes {max_bytes}",
        refused,
        [record for record, ok in zip(records, fits, strict=True) if ok],
    )

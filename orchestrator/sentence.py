"""An event in a few words, for the page and the terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import assert_never

from eventbus.events import (
    AlertEvent,
    Event,
    FaceRecognitionEvent,
    MotionDetectionEvent,
    SystemStatusEvent,
)


def sentence(event: Event) -> str:
    match event:
        case MotionDetectionEvent():
            counts = Counter(found.object_class for found in event.detected_objects)
            seen = ", ".join(_counted(name, count) for name, count in sorted(counts.items()))
            return f"Saw {seen}" if seen else "Saw nothing"
        case FaceRecognitionEvent(person_name=None):
            return "A person who is not enrolled"
        case FaceRecognitionEvent():
            verdict = "" if event.is_authorized else ", not authorised"
            return f"Recognised {event.person_name}{verdict} ({event.confidence:.2f})"
        case AlertEvent():
            return event.alert_message
        case SystemStatusEvent():
            detail = f": {event.detail}" if event.detail else ""
            return f"{event.component.capitalize()} {event.status}{detail}"
        case _:
            assert_never(event)


def told_once(events: Sequence[Event]) -> tuple[Event, ...]:
    """Without those that raised an alert among them: the alert says the same."""
    raised = {cause for e in events if isinstance(e, AlertEvent) for cause in e.associated_events}
    return tuple(event for event in events if event.event_id not in raised)


def _counted(name: str, count: int) -> str:
    if count == 1:
        return f"1 {name}"
    if name == "person":
        return f"{count} people"
    return f"{count} {name}{'es' if name.endswith(('s', 'x', 'ch', 'sh')) else 's'}"

"""Which event goes to which topic, and which matters most when room runs out."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics. The key of every event is its camera id."""

    DEAD_LETTER: ClassVar[str] = ".dlq"

    motion: str = "motion.detection.events"
    faces: str = "face.recognition.events"
    alerts: str = "alert.events"
    status: str = "system.status.events"

    def of(self, event_type: str) -> str:
        """The topic of an event type. Raises KeyError for a type that does not exist."""
        return {
            "motion.detected": self.motion,
            "face.recognized": self.faces,
            "system.status": self.status,
            "alert.triggered": self.alerts,
        }[event_type]

    @property
    def all(self) -> tuple[str, ...]:
        return (self.motion, self.faces, self.alerts, self.status)

    @classmethod
    def dead_letter(cls, topic: str) -> str:
        return topic + cls.DEAD_LETTER


# From what is dropped first to what is dropped last.
PRIORITY: tuple[str, ...] = (
    "motion.detected",
    "face.recognized",
    "system.status",
    "alert.triggered",
)

"""Which weights answered: goes into the evidence of every event."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelVersion:
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DetectionModel:
    """What the numbers of a detection's classes mean: they are another model's nothing."""

    version: ModelVersion
    labels: tuple[str, ...]

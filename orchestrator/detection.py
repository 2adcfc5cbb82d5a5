"""What a detector saw in one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.model_version import DetectionModel


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Columns of equal length; row i of each is detection i.

    xyxy        float32 (n, 4)  corners in pixels of the source frame, origin top left
    confidence  float32 (n,)    0..1
    class_id    int32   (n,)    line number in the model's labels.txt, from 0
    model       whose labels those are; None where nobody was asked
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    model: DetectionModel | None = None

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        expected = {"xyxy": (n, 4), "confidence": (n,), "class_id": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> "Detections":
        return Detections(self.xyxy[keep], self.confidence[keep], self.class_id[keep], self.model)

    @classmethod
    def empty(cls) -> "Detections":
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))

"""What is lost of the detections that matter: average precision on labelled pictures, of each detector in turn."""

from typing import Self

from pydantic import Field

from export.parity import Report
from orchestrator.errors import ModelError

REFERENCE = "MMDetection"
# Points of AP. Of the same weights in the same float32 only rows that stand exactly on a limit change: 1 % of them may
# (export/parity.py), and few of those decide about a labelled box. Half a point is more than that ever comes to.
MOST_LOSS = 0.5
# A reference that finds less than this finds nothing: then nothing could be lost either.
LEAST_AP50 = 1.0


class Figures(Report):
    """In points, 0 to 100."""

    ap: float
    """Mean over the classes and IoU 0.50 to 0.95."""
    ap50: float
    ar: float
    """Recall with up to 100 rows a picture, mean over the same."""


class Accuracy(Report):
    """AP on labelled pictures, by pycocotools. Rows begin at the least score that is served."""

    pictures: int
    boxes: int
    """Labelled objects; crowds are not counted."""
    most_loss: float = Field(ge=0)
    """Points of AP that may be lost."""
    figures: dict[str, Figures]
    """By detector; the first is the reference."""

    @classmethod
    def of(
        cls, pictures: int, boxes: int, most_loss: float, figures: dict[str, dict[str, float]]
    ) -> Self:
        found = {name: Figures.model_validate(each) for name, each in figures.items()}
        return cls(pictures=pictures, boxes=boxes, most_loss=most_loss, figures=found)

    def loss(self, detector: str) -> float:
        return self.figures[REFERENCE].ap - self.figures[detector].ap

    def excess(self) -> list[str]:
        """What is wrong, in words; empty where all is well."""
        if self.figures[REFERENCE].ap50 < LEAST_AP50:
            return [
                f"MMDetection itself finds none of the {self.boxes} labelled boxes (AP50 "
                f"{self.figures[REFERENCE].ap50:.2f}): LABELLED has other pictures, or other classes, than the model"
            ]
        return [
            f"{name}: {self.loss(name):.2f} points of AP are lost, {self.most_loss} are allowed"
            for name in self.figures
            if self.loss(name) > self.most_loss
        ]

    def require(self) -> None:
        """Raises ModelError with everything that is wrong."""
        if reasons := self.excess():
            raise ModelError("accuracy: " + "; ".join(reasons))

    def text(self) -> str:
        lines = [f"{'on labelled pictures':<20}{'AP':>8}{'AP50':>8}{'AR':>8}{'AP lost':>9}"]
        lines += [
            f"{name:<20}{each.ap:>8.2f}{each.ap50:>8.2f}{each.ar:>8.2f}"
            + ("" if name == REFERENCE else f"{self.loss(name):>9.2f}")
            for name, each in self.figures.items()
        ]
        verdict = "FAILED" if self.excess() else "passed"
        lines.append(
            f"{self.boxes} boxes in {self.pictures} pictures; allowed: {self.most_loss} points of AP: {verdict}"
        )
        return "\n".join(lines) + "\n"

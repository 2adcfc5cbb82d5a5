"""What fewer bits than float32's lose: agreement with float32 always, AP where pictures are labelled."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from export.accuracy import Accuracy, Figures
from export.parity import Report, Rows
from orchestrator.errors import ModelError
from orchestrator.iou import iou

# Points of AP on labelled pictures that fewer bits may cost, unless the operator says otherwise.
MOST_LOSS = 1.0
# AP of the rows against float32's own: below it, rows are missing or boxes shifted, whatever labelled pictures say.
LEAST_AGREEMENT = 95.0
# The part of float32's sure rows that a client still has to see. AP is blind to scores that fall alike, and so to
# a detector that lost a tenth of its people (docs/export.md).
LEAST_KEPT = 0.95
# Rows of float32 from this score on are what has to be found again: what a client asks for by default.
SURE = 0.5
LEAST_ROWS = 20
# What boxes of the same object share at least, as AP50 has it.
SAME = 0.5


class Lowered(Report):
    """Of int8 or fp16, against the same graph in float32."""

    precision: Literal["int8", "fp16"]
    rows: int
    """Of float32, with a score of at least 0.5: what has to be found again."""
    kept: int
    """Of these, those that a client still sees."""
    agreement: Figures
    """AP of the lowered rows, with float32's sure rows as the truth."""
    accuracy: Accuracy | None = None
    """AP on labelled pictures."""

    def disagreement(self) -> list[str]:
        """What is wrong without any labels, in words; empty where all is well."""
        if self.rows < LEAST_ROWS:
            return [
                f"only {self.rows} rows of float32 are sure (score {SURE}), which proves nothing: "
                "give more pictures of what the model detects with FRAMES=path"
            ]
        reasons = []
        if self.agreement.ap < LEAST_AGREEMENT:
            reasons.append(
                f"AP against float32's own rows is {self.agreement.ap:.2f}, at least {LEAST_AGREEMENT} is needed"
            )
        if self.kept < LEAST_KEPT * self.rows:
            reasons.append(
                f"of {self.rows} rows that float32 is sure of only {self.kept} still have a score of {SURE}, "
                f"at least {LEAST_KEPT:.0%} are needed"
            )
        return reasons

    def excess(self) -> list[str]:
        """What is wrong, in words; empty where all is well."""
        return self.disagreement() + (self.accuracy.excess() if self.accuracy is not None else [])

    def require(self) -> None:
        """Raises ModelError with everything that is wrong."""
        if reasons := self.excess():
            mend = (
                "; calibrate on more of your own clips (CALIBRATION=path), or export PRECISION=fp32"
            )
            raise ModelError(f"{self.precision}: {'; '.join(reasons)}{mend}")

    def text(self) -> str:
        verdict = "FAILED" if self.disagreement() else "passed"
        lines = [
            f"{self.precision + ' against float32':<20}{'AP':>8}{'AP50':>8}{'AR':>8}",
            f"{'served':<20}{self.agreement.ap:>8.2f}{self.agreement.ap50:>8.2f}{self.agreement.ar:>8.2f}",
            f"{self.rows} rows of float32 from a score of {SURE} as the truth, {self.kept} of them still have it; "
            f"allowed: from {LEAST_AGREEMENT} AP, from {LEAST_KEPT:.0%}: {verdict}",
        ]
        if self.precision == "fp16":
            lines.append("of rounded weights: a processor computes in float32 all the same")
        labelled = "" if self.accuracy is None else "\n" + self.accuracy.text()
        return "\n".join(lines) + "\n" + labelled


def kept(whole: Sequence[Rows], fewer: Sequence[Rows]) -> int:
    """Sure rows of float32, picture by picture, that have a sure row of their class on the same object."""
    count = 0
    for one, other in zip(whole, fewer, strict=True):
        for row in np.flatnonzero(one.scores >= SURE):
            same = (other.labels == one.labels[row]) & (other.scores >= SURE)
            count += bool((iou(one.boxes[row][None], other.boxes[same]) >= SAME).any())
    return count

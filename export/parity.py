"""Proof that nothing was lost: the same pictures through MMDetection, the exported file and the served one.

Rows are compared one by one. Suppression and the least score are the same in all three, so every row has its
partner, but for the few that stand exactly on a limit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import ModelError

Floats = NDArray[np.float32]
# Farther apart than this, two boxes are not the same answer.
PARTNER_PX = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What one detector finds in one picture, best first.

    boxes   float32 (n, 4)  x1, y1, x2, y2 in pixels of the network's input
    scores  float32 (n,)
    labels  int32 (n,)
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int32]


class Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Tolerance(Report):
    """How far an answer may be from MMDetection's."""

    box_px: float = Field(default=0.5, gt=0)
    """Of any corner, in pixels of the network's input."""
    score: float = Field(default=0.005, gt=0)
    unpaired: float = Field(default=0.01, ge=0)
    """Part of the rows that may be without a partner, because they stand exactly on a limit."""
    objects: int = Field(default=20, gt=0)
    """Fewer of MMDetection's rows than this prove nothing."""


class Difference(Report):
    """One detector against MMDetection."""

    rows: int
    """Of MMDetection."""
    paired: int
    missing: int
    extra: int
    box_px: float
    """Largest difference of a corner among pairs."""
    box_px_median: float
    score: float
    """Largest difference of a score among pairs."""

    def excess(self, tolerance: Tolerance) -> list[str]:
        """What is wrong, in words; empty where all is well."""
        found = []
        if self.missing + self.extra > tolerance.unpaired * max(self.rows, 1):
            found.append(
                f"{self.missing} rows are missing and {self.extra} are extra of {self.rows}"
            )
        if self.box_px > tolerance.box_px:
            found.append(f"a box is {self.box_px:.3f} px off, {tolerance.box_px} are allowed")
        if self.score > tolerance.score:
            found.append(f"a score is {self.score:.5f} off, {tolerance.score} are allowed")
        return found


class Parity(Report):
    """The report that lies beside a served model."""

    frames: int
    least_score: float
    tolerance: Tolerance
    differences: dict[str, Difference]
    """By detector: `exported` (what MMDeploy wrote), `served` (what Triton loads)."""
    passed: bool

    @classmethod
    def of(
        cls,
        reference: Sequence[Rows],
        others: Mapping[str, Sequence[Rows]],
        tolerance: Tolerance,
        least_score: float,
        most_rows: int,
    ) -> Self:
        found = {
            name: difference(reference, rows, tolerance, least_score, most_rows)
            for name, rows in others.items()
        }
        return cls(
            frames=len(reference),
            least_score=least_score,
            tolerance=tolerance,
            differences=found,
            passed=all(
                each.rows >= tolerance.objects and not each.excess(tolerance)
                for each in found.values()
            ),
        )

    def require(self) -> None:
        """Raises ModelError with everything that is wrong."""
        reasons = []
        for name, each in self.differences.items():
            if each.rows < self.tolerance.objects:
                reasons.append(
                    f"only {each.rows} objects in {self.frames} frames, which proves nothing: "
                    "give pictures of what the model detects with FRAMES=path"
                )
                break
            reasons += [f"{name}: {excess}" for excess in each.excess(self.tolerance)]
        if reasons:
            raise ModelError("parity: " + "; ".join(reasons))

    def text(self) -> str:
        """A short text of the report."""
        lines = [
            f"{'against MMDetection':<20}{'rows':>7}{'paired':>8}{'missing':>9}{'extra':>7}"
            f"{'box px':>10}{'median':>10}{'score':>10}"
        ]
        lines += [
            f"{name:<20}{each.rows:>7}{each.paired:>8}{each.missing:>9}{each.extra:>7}"
            f"{each.box_px:>10.5f}{each.box_px_median:>10.5f}{each.score:>10.6f}"
            for name, each in self.differences.items()
        ]
        allowed = self.tolerance
        lines.append(
            f"{self.frames} frames, rows from a score of {self.least_score}; allowed: {allowed.box_px} px, "
            f"{allowed.score} of a score, {allowed.unpaired:.0%} of the rows unpaired: "
            f"{'passed' if self.passed else 'FAILED'}"
        )
        return "\n".join(lines) + "\n"


def difference(
    reference: Sequence[Rows],
    others: Sequence[Rows],
    tolerance: Tolerance,
    least_score: float,
    most_rows: int,
) -> Difference:
    """Pair the rows of each picture, nearest boxes of the same label first come first served by score.

    Args:
        reference: what MMDetection finds, a picture each.
        others: what the compared detector finds in the same pictures.
        tolerance: rows nearer to a limit than the tolerated score may lack a partner.
        least_score: below it neither gives rows.
        most_rows: of a picture; where it is reached, the weakest rows may lack a partner as well.
    """
    apart_px: list[float] = []
    apart_score: list[float] = []
    rows = extra = 0
    for ours, theirs in zip(reference, others, strict=True):
        floors = [_floor(each, least_score, most_rows) for each in (ours, theirs)]
        floor = max(floors) + tolerance.score
        wanted = np.flatnonzero(ours.scores >= floor)
        free = np.ones(len(theirs.scores), bool)
        for row, partner, apart in _pairs(ours, wanted, theirs, free):
            apart_px.append(apart)
            apart_score.append(abs(float(ours.scores[row] - theirs.scores[partner])))
        rows += len(wanted)
        # A margin above the floor, lest a row that ours has a hair below it counts as extra.
        extra += int((free & (theirs.scores >= floor + tolerance.score)).sum())
    return Difference(
        rows=rows,
        paired=len(apart_px),
        missing=rows - len(apart_px),
        extra=extra,
        box_px=max(apart_px, default=0.0),
        box_px_median=float(np.median(apart_px)) if apart_px else 0.0,
        score=max(apart_score, default=0.0),
    )


def _pairs(
    ours: Rows, wanted: NDArray[np.intp], theirs: Rows, free: NDArray[np.bool_]
) -> Iterator[tuple[int, int, float]]:
    """Row of ours, row of theirs, pixels between them; takes what is paired out of `free`."""
    for row in wanted:
        partner, apart = _nearest(ours, int(row), theirs, free)
        if apart <= PARTNER_PX:
            free[partner] = False
            yield int(row), partner, apart


def _floor(rows: Rows, least_score: float, most_rows: int) -> float:
    if len(rows.scores) < most_rows:
        return least_score
    return max(least_score, float(rows.scores.min()))


def _nearest(ours: Rows, row: int, theirs: Rows, free: NDArray[np.bool_]) -> tuple[int, float]:
    """The unpaired row of the same label whose corners are nearest, and how far the farthest corner is off."""
    candidates = np.flatnonzero(free & (theirs.labels == ours.labels[row]))
    if not len(candidates):
        return -1, np.inf
    apart = np.abs(theirs.boxes[candidates] - ours.boxes[row]).max(axis=1)
    best = int(apart.argmin())
    return int(candidates[best]), float(apart[best])

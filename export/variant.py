"""Planes instead of RGB: that the graph computes the same with them, and how far what is found moves.

Both are asked of MMDeploy's file, which was found equal to MMDetection: that one takes RGB in bytes, and planes mean
colours between those.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np

from export.coco import Scales, in_source
from export.lowered import LEAST_ROWS, SURE
from export.parity import Difference, Report, Rows, Tolerance
from orchestrator.errors import ModelError
from orchestrator.iou import iou

# What boxes share in two good ways to scale one picture (docs/decisions/0013-planar-pixels.md): nearly all more than
# `CLOSE`. What is left of a person at an edge, 15 pixels high, shared 0.916; below `LEAST` it is another box.
CLOSE, MOST_FARTHER, LEAST = 0.98, 0.03, 0.85
SCORE = 0.05
# From this score on the other's row counts as the same object, for one may be a little below what is sure.
WEAKER = SURE / 2


class Variant(Report):
    """Of a model that takes planes, in float32."""

    pixels: Literal["planar", "decoded"]
    tolerance: Tolerance
    same: Difference
    """Row by row against MMDeploy's file, given the colours that the very same planes mean, not rounded."""
    rows: int
    """With a score of at least 0.5, of MMDeploy's file in RGB and of this; each looks for itself among the other's."""
    iou: float
    """Median over these rows; 0 where nothing is found."""
    iou_least: float
    farther: int
    """Rows whose best overlap is 0.98 or less."""
    score: float
    """Largest difference among them."""

    @classmethod
    def of(
        cls,
        pixels: Literal["planar", "decoded"],
        same: Difference,
        tolerance: Tolerance,
        reference: tuple[Sequence[Rows], Scales],
        found: tuple[Sequence[Rows], Scales],
    ) -> Self:
        """Rows of both in the same pictures, and the ways back to these."""
        pairs = [*_partners(reference, found), *_partners(found, reference)]
        shared = np.array([overlap for overlap, _ in pairs] or [0.0])
        return cls(
            pixels=pixels,
            tolerance=tolerance,
            same=same,
            rows=len(pairs),
            iou=float(np.median(shared)),
            iou_least=float(shared.min()),
            farther=int((shared <= CLOSE).sum()),
            score=max((apart for _, apart in pairs), default=0.0),
        )

    def excess(self) -> list[str]:
        """What is wrong, in words; empty where all is well."""
        found = [f"given the same colours, {excess}" for excess in self.same.excess(self.tolerance)]
        if self.rows < LEAST_ROWS:
            return [
                *found,
                f"only {self.rows} rows are sure (score {SURE}), which proves nothing: "
                "give more pictures of what the model detects with FRAMES=path",
            ]
        if self.iou_least <= LEAST:
            found.append(
                f"a row shares {self.iou_least:.3f} with the nearest one in RGB, more than {LEAST} is needed"
            )
        if self.farther > max(1, MOST_FARTHER * self.rows):
            found.append(
                f"{self.farther} of {self.rows} rows share {CLOSE} or less with those in RGB, "
                f"{MOST_FARTHER:.0%} are allowed"
            )
        if self.score > SCORE:
            found.append(f"a score is {self.score:.3f} from that in RGB, {SCORE} are allowed")
        return found

    def require(self) -> None:
        """Raises ModelError with everything that is wrong."""
        if reasons := self.excess():
            raise ModelError(f"{self.pixels}: {'; '.join(reasons)}; or export PIXELS=rgb")

    def text(self) -> str:
        same = self.same
        parted = same.missing + same.extra
        lines = [
            f"{self.pixels + ' pixels':<20}{'rows':>7}{'unpaired':>10}{'box px':>10}{'median':>10}{'score':>10}",
            f"{'in the same colours':<20}{same.rows:>7}{parted:>10}{same.box_px:>10.5f}{same.box_px_median:>10.5f}"
            f"{same.score:>10.6f}",
            f"{'':<20}{'rows':>7}{'farther':>10}{'least IoU':>10}{'median':>10}{'score':>10}",
            f"{'against RGB':<20}{self.rows:>7}{self.farther:>10}{self.iou_least:>10.3f}{self.iou:>10.4f}"
            f"{self.score:>10.3f}",
            f"rows of MMDeploy's file and of this from a score of {SURE}; allowed: IoU above {CLOSE} but for "
            f"{MOST_FARTHER:.0%}, above {LEAST} for all, {SCORE} of a score: "
            f"{'FAILED' if self.excess() else 'passed'}",
        ]
        return "\n".join(lines) + "\n"


def _partners(
    ours: tuple[Sequence[Rows], Scales], theirs: tuple[Sequence[Rows], Scales]
) -> Iterator[tuple[float, float]]:
    """Of each sure row of ours: what it shares with the nearest of theirs, and the difference in score."""
    for one, our_scale, other, their_scale in zip(*ours, *theirs, strict=True):
        boxes = in_source(one, our_scale).reshape(-1, 4).astype(np.float32)
        others = in_source(other, their_scale).reshape(-1, 4).astype(np.float32)
        for row in np.flatnonzero(one.scores >= SURE):
            same = (other.labels == one.labels[row]) & (other.scores >= WEAKER)
            if not same.any():
                yield 0.0, 1.0
                continue
            shared = iou(boxes[row][None], others[same])[0]
            best = int(shared.argmax())
            yield float(shared[best]), abs(float(one.scores[row] - other.scores[same][best]))

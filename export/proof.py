"""The report that lies beside an exported model: what was compared, what was lost, and whether that is allowed."""

from export.accuracy import Accuracy
from export.cost import Cost
from export.lowered import Lowered
from export.parity import Parity, Report
from export.variant import Variant


class Proof(Report):
    parity: Parity
    """Row by row, in float32 and in RGB, against MMDetection."""
    variant: Variant | None = None
    """What is served, in float32, where it takes planes; None where it takes RGB."""
    accuracy: Accuracy | None = None
    """AP on labelled pictures, in float32; None where none were given."""
    lowered: Lowered | None = None
    """What another precision than float32 costs; None where there is none."""

    cost: Cost | None = None
    """Where something else is served than ONNX Runtime in float32 would run."""

    def require(self) -> None:
        """Raises ModelError with everything that is wrong, the first part that fails."""
        for part in (self.parity, self.variant, self.accuracy, self.lowered):
            if part is not None:
                part.require()

    def text(self) -> str:
        parts = [self.parity, self.variant, self.accuracy, self.lowered, self.cost]
        return "\n".join(part.text() for part in parts if part is not None)

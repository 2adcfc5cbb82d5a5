"""The report that lies beside an exported model: what was compared, what was lost, and whether that is allowed."""

from export.accuracy import Accuracy
from export.cost import Cost
from export.lowered import Lowered
from export.parity import Parity, Report


class Proof(Report):
    parity: Parity
    """Row by row, in float32, against MMDetection."""
    accuracy: Accuracy | None = None
    """AP on labelled pictures, in float32; None where none were given."""
    lowered: Lowered | None = None
    """What another precision than float32 costs; None where there is none."""

    cost: Cost | None = None
    """Where something else is served than ONNX Runtime in float32 would run."""

    def require(self) -> None:
        """Raises ModelError with everything that is wrong, the first part that fails."""
        self.parity.require()
        if self.accuracy is not None:
            self.accuracy.require()
        if self.lowered is not None:
            self.lowered.require()

    def text(self) -> str:
        parts = [self.parity, self.accuracy, self.lowered, self.cost]
        return "\n".join(part.text() for part in parts if part is not None)

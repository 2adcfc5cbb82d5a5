"""What is asked of the export environment: MMDeploy's file, MMDetection's own answers, the figures of COCO's tool."""

from pathlib import Path
from typing import Any

from rich.console import Console

from export import atomic
from export.environment import PACKAGE, Environment, ask
from export.graphs import object_detector as graph
from export.steps import digest_of_text
from export.wish import Wish

# Of all boxes, those that MMDeploy's own file suppresses; its default. What is served, and a plan, look at all of them
# (decision 24).
CANDIDATES = 5000
ALL = -1


class MMDetection:
    """One network at one size, in a folder of work files."""

    def __init__(
        self, wish: Wish, environment: Environment, folder: Path, console: Console
    ) -> None:
        self._wish = wish
        self._environment = environment
        self._folder = folder
        self._console = console
        self.weights = folder / "weights.pth"

    def tools(self) -> dict[str, str]:
        """All that a reading depends on, but for the checkpoint."""
        network = self._wish.network
        code = sorted((PACKAGE / "mmdeploy").glob("*.py"))
        return {
            "environment": self._environment.require_digest(),
            "code": digest_of_text(*(path.read_text(encoding="utf-8") for path in code)),
            "network": f"{network.config} {network.changes}",
        }

    def limits(self) -> dict[str, str]:
        limits = (self._wish.size, graph.SCORE, graph.IOU, graph.ROWS)
        return {"limits": " ".join(map(str, limits))}

    def read(self, checkpoint: Path) -> dict[str, Any]:
        """Write the tensors of a checkpoint to `weights`; its classes, labels and the tools' versions."""
        return self._done("read", checkpoint=str(checkpoint.resolve()))

    def convert(self, classes: int, onnx: Path, *, candidates: int = CANDIDATES) -> None:
        self._done("convert", classes=classes, onnx=str(onnx), candidates=candidates)

    def answer(self, classes: int, frames: Path, answers: Path) -> None:
        """What MMDetection finds in frames (uint8 [n,size,size,3], RGB)."""
        self._done("answer", classes=classes, frames=str(frames), answers=str(answers))

    def evaluate(self, truth: str, detections: dict[str, str]) -> dict[str, dict[str, float]]:
        """AP, AP50 and AR in points, by detector.

        Args:
            truth: annotations in COCO's format.
            detections: COCO's results of each detector.
        """
        truth_file = self._folder / "truth.json"
        atomic.write(truth_file, truth.encode())
        files = {}
        for name, rows in detections.items():
            file = self._folder / f"detections-{name}.json"
            atomic.write(file, rows.encode())
            files[name] = str(file)
        figures: dict[str, dict[str, float]] = self._done(
            "evaluate", truth=str(truth_file), detections=files
        )["figures"]
        return figures

    def _done(self, task: str, **more: Any) -> dict[str, Any]:
        job = {
            "task": task,
            "config": self._wish.network.config,
            "changes": self._wish.network.changes,
            "size": self._wish.size,
            "score": graph.SCORE,
            "iou": graph.IOU,
            "rows": graph.ROWS,
            "weights": str(self.weights),
            **more,
        }
        return ask(self._environment, job, self._folder, task, self._console)

"""From a checkpoint to a served model: read, convert, edit, compare with MMDetection, land.

Every step is done once; the same export a second time goes on where it stopped.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from export import atomic, detecting, gate
from export.alone import alone
from export.checkpoint import Checkpoint
from export.environment import PACKAGE, Environment, ask
from export.exported import Exported, land
from export.frames import gather
from export.graphs import object_detector as graph
from export.manifest import Model
from export.parity import Parity, Tolerance
from export.prepare import RECIPE, checked
from export.rtmdet import Network, checked_labels, checked_size, exported_inputs, preprocessing
from export.steps import Steps, digest_of_text
from export.transfer import digest_of
from orchestrator.errors import ModelError

FRAMES = 24
# People, and a street: something for most detectors.
DEFAULT_CLIPS = ("one-by-one-person-detection.mp4", "car-detection.mp4")
# MMDetection runs on other kernels than ONNX Runtime. In float32 a coordinate is the less exact the larger it is:
# half a pixel up to a side of 640, more for larger ones.
PX_OF_SIDE = 1 / 1280


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for.

    labels    names of the classes; None: those that the checkpoint notes
    pictures  clips and photographs that show what the model detects
    count     how many frames of them are compared
    """

    network: Network
    size: int
    labels: tuple[str, ...] | None
    pictures: tuple[Path, ...]
    count: int = FRAMES

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(box_px=max(0.5, self.size * PX_OF_SIDE))


@dataclass(frozen=True, slots=True)
class Result:
    """folder: the version that is served from now on; changed: whether it is a new one."""

    folder: Path
    changed: bool
    parity: Parity


def check_possible(form: str, precision: str) -> None:
    """Raises ModelError, with the way that there is, for what is not done here."""
    if form == "tensorrt":
        raise ModelError(
            "FORMAT=tensorrt: a plan runs only on the kind of GPU, and the TensorRT, that built it, and none is here; "
            "export FORMAT=onnx: on a GPU, Triton builds the engine from it (config.pbtxt, gpu_execution_accelerator)"
        )
    if form != "onnx":
        raise ModelError(f"FORMAT={form}: not known; onnx is what Triton serves everywhere")
    if precision == "fp16":
        raise ModelError(
            "PRECISION=fp16: needs a GPU, whose TensorRT makes it from the fp32 file (precision_mode in config.pbtxt); "
            "a processor computes in fp32 anyway. Export PRECISION=fp32"
        )
    if precision == "int8":
        raise ModelError(
            "PRECISION=int8: not offered, because its loss would have to be measured on your labelled pictures first; "
            "export PRECISION=fp32"
        )
    if precision != "fp32":
        raise ModelError(f"PRECISION={precision}: not known; fp32 is what can be exported here")


class Export:
    """One export, in a folder of its own."""

    def __init__(
        self,
        wish: Wish,
        checkpoint: Checkpoint,
        environment: Environment,
        work: Path,
        console: Console,
    ) -> None:
        name = f"{wish.network.name}-{checked_size(wish.size)}-{checkpoint.sha256[:12]}"
        self._wish = wish
        self._checkpoint = checkpoint
        self._environment = environment
        self._folder = work.resolve() / name
        self._console = console
        self._steps = Steps(self._folder, console)
        self._weights = self._folder / "weights.pth"
        self._summary = self._folder / "summary.json"
        self._onnx = self._folder / "end2end.onnx"
        self._frames = self._folder / "frames.npy"
        self._answers = self._folder / "answers.npz"
        self._edited = self._folder / "model.onnx"

    def collect(self) -> None:
        """Take the pictures to compare on, so that a mistake with them costs no minutes. Raises ModelError."""
        with alone(self._folder, self._console):
            self._steps.carry_out("collecting pictures", self._seen(), [self._frames], self._gather)

    def run(self, repository: Path) -> Result:
        """Do what is not done yet. Raises ModelError; then the repository serves what it served before."""
        self.collect()
        with alone(self._folder, self._console):
            return self._run(repository)

    def _run(self, repository: Path) -> Result:
        tools = self._tools()
        self._steps.carry_out(
            "reading the checkpoint",
            {**tools, "checkpoint": self._checkpoint.sha256},
            [self._weights, self._summary],
            self._read,
        )
        summary = json.loads(self._summary.read_text(encoding="utf-8"))
        model = self._model(summary)
        weights = {**tools, **self._limits(), "weights": digest_of(self._weights)}
        self._steps.carry_out(
            "converting to ONNX", weights, [self._onnx], lambda: self._convert(summary)
        )
        content = self._edit(model)
        self._steps.carry_out(
            "asking MMDetection",
            {**weights, "frames": digest_of(self._frames)},
            [self._answers],
            lambda: self._ask(summary),
        )
        parity = self._compare(model)
        note = self._note(model, summary, hashlib.sha256(content).hexdigest())
        folder, changed = land(model, content, note, parity, repository)
        return Result(folder, changed, parity)

    def _tools(self) -> dict[str, str]:
        network = self._wish.network
        code = sorted((PACKAGE / "mmdeploy").glob("*.py"))
        return {
            "environment": self._environment.require_digest(),
            "code": digest_of_text(*(path.read_text(encoding="utf-8") for path in code)),
            "network": f"{network.config} {network.changes}",
        }

    def _limits(self) -> dict[str, str]:
        limits = (self._wish.size, graph.SCORE, graph.IOU, graph.ROWS)
        return {"limits": " ".join(map(str, limits))}

    def _job(self, task: str, **more: Any) -> dict[str, Any]:
        return {
            "task": task,
            "config": self._wish.network.config,
            "changes": self._wish.network.changes,
            "size": self._wish.size,
            "score": graph.SCORE,
            "iou": graph.IOU,
            "rows": graph.ROWS,
            "weights": str(self._weights),
            **more,
        }

    def _done(self, task: str, **more: Any) -> dict[str, Any]:
        return ask(self._environment, self._job(task, **more), self._folder, task, self._console)

    def _read(self) -> None:
        summary = self._done("read", checkpoint=str(self._checkpoint.path.resolve()))
        atomic.write(self._summary, json.dumps(summary, indent=2).encode())

    def _convert(self, summary: dict[str, Any]) -> None:
        self._done("convert", classes=summary["classes"], onnx=str(self._onnx))

    def _seen(self) -> dict[str, str]:
        files = {str(path): _stamp(path) for path in self._wish.pictures}
        return {**files, "size": str(self._wish.size), "count": str(self._wish.count)}

    def _gather(self) -> None:
        np.save(self._frames, gather(self._wish.pictures, self._wish.count, self._wish.size))

    def _ask(self, summary: dict[str, Any]) -> None:
        self._done(
            "answer",
            classes=summary["classes"],
            frames=str(self._frames),
            answers=str(self._answers),
        )

    def _model(self, summary: dict[str, Any]) -> Model:
        network, checkpoint = self._wish.network, self._checkpoint
        noted = summary["labels"]
        labels = self._wish.labels or (tuple(noted) if noted is not None else None)
        return Model(
            name=f"{network.name.replace('-', '_')}_{self._wish.size}_{checkpoint.sha256[:8]}",
            title=f"{network.name.replace('rtmdet', 'RTMDet')} from {checkpoint.path.name}".replace(
                '"', ""
            ),
            slot="object_detector",
            version="1",
            file=self._onnx.name,
            licence=checkpoint.licence,
            homepage=checkpoint.homepage,
            sha256=checkpoint.sha256,
            preprocessing=preprocessing(self._wish.size),
            labels=checked_labels(labels, summary["classes"], str(checkpoint.path)),
        )

    def _edit(self, model: Model) -> bytes:
        untouched = gate.admit(
            self._onnx, sha256=digest_of(self._onnx), inputs=exported_inputs(self._wish.size)
        )
        edited = checked(graph.object_detector(untouched, model), model)
        content: bytes = edited.SerializeToString(deterministic=True)
        atomic.write(self._edited, content)
        gate.admit(self._edited, sha256=hashlib.sha256(content).hexdigest())
        return content

    def _compare(self, model: Model) -> Parity:
        frames = np.load(self._frames, allow_pickle=False)
        self._console.print("comparing with MMDetection …", highlight=False)
        parity = Parity.of(
            detecting.by_mmdetection(self._answers),
            {
                "exported": detecting.by_exported(self._onnx, frames, model.preprocessing),
                "served": detecting.by_served(self._edited, frames),
            },
            self._wish.tolerance,
            graph.SCORE,
            graph.ROWS,
        )
        # Written whether it passes or not: who has to mend something needs it most.
        atomic.write(self._folder / "parity.json", parity.model_dump_json(indent=2).encode())
        atomic.write(self._folder / "parity.txt", parity.text().encode())
        self._console.print(parity.text().rstrip(), highlight=False, markup=False, soft_wrap=True)
        parity.require()
        return parity

    def _note(self, model: Model, summary: dict[str, Any], result_sha256: str) -> Exported:
        ours = {name: version(name) for name in ("onnx", "onnxruntime", "numpy")}
        return Exported(
            model=model.name,
            title=model.title,
            licence=model.licence,
            homepage=model.homepage,
            source_file=self._checkpoint.path.name,
            source_sha256=self._checkpoint.sha256,
            onnx_sha256=digest_of(self._onnx),
            result_sha256=result_sha256,
            recipe=RECIPE,
            options={
                "network": self._wish.network.name,
                "config": self._wish.network.config,
                "format": "onnx",
                "precision": "fp32",
                "size": self._wish.size,
                "classes": summary["classes"],
                "labels": list(model.labels),
                "least_score": graph.SCORE,
                "iou": graph.IOU,
                "rows": graph.ROWS,
            },
            tools={
                "python": platform.python_version(),
                **{f"export/{name}": number for name, number in summary["tools"].items()},
                **ours,
            },
        )


def _stamp(path: Path) -> str:
    """What tells a file or folder of pictures from another; digests of long recordings would take too long."""
    files: Sequence[Path] = sorted(path.iterdir()) if path.is_dir() else [path]
    if not path.exists():
        raise ModelError(f"{path}: is not there")
    return digest_of_text(
        *(f"{each.name} {each.stat().st_size} {each.stat().st_mtime_ns}" for each in files)
    )

"""From a checkpoint to a served model: read, convert, edit, lower, compare with MMDetection, land.

Every step is done once; the same export a second time goes on where it stopped.
"""

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from export import atomic, gate, openvino, planning
from export.alone import alone
from export.checkpoint import Checkpoint
from export.environment import Environment
from export.exported import Exported, land
from export.graphs import object_detector as graph
from export.lowering import METHOD, fp16, int8
from export.manifest import Model
from export.mmdetection import ALL, MMDetection
from export.pictures import Pictures
from export.prepare import RECIPE, checked
from export.proof import Proof
from export.proving import Proving
from export.rtmdet import checked_labels, checked_size, exported_inputs, preprocessing
from export.steps import Steps
from export.transfer import digest_of
from export.wish import Wish

# People, and a street: something for most detectors.
DEFAULT_CLIPS = ("one-by-one-person-detection.mp4", "car-detection.mp4")


@dataclass(frozen=True, slots=True)
class Result:
    """folder: the version that is served from now on; changed: whether it is a new one."""

    folder: Path
    changed: bool
    proof: Proof


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
        """Raises ModelError for what would be missing at the end, minutes later."""
        if wish.accelerator == "openvino":
            openvino.require()
        name = f"{wish.network.name}-{checked_size(wish.size)}-{checkpoint.sha256[:12]}"
        self._wish = wish
        self._checkpoint = checkpoint
        self._folder = work.resolve() / name
        self._console = console
        self._steps = Steps(self._folder, console)
        self._asked = MMDetection(wish, environment, self._folder, console)
        self._pictures = Pictures(wish, self._folder, self._steps)
        self._summary = self._folder / "summary.json"
        self._onnx = self._folder / "end2end.onnx"
        self._edited = self._folder / "model.onnx"
        self._lower = self._folder / f"model.{wish.precision}.onnx"

    def collect(self) -> None:
        """Take the pictures to compare on, so that a mistake with them costs no minutes. Raises ModelError."""
        with alone(self._folder, self._console):
            self._pictures.collect()

    def run(self, repository: Path) -> Result:
        """Do what is not done yet. Raises ModelError; then the repository serves what it served before."""
        with alone(self._folder, self._console):
            self._pictures.collect()
            return self._run(repository)

    def _run(self, repository: Path) -> Result:
        summary = self._read()
        model = self._model(summary)
        if self._pictures.labelled:  # an unknown class is told before what takes minutes
            self._pictures.labelled.classes(model.labels)
        weights = {
            **self._asked.tools(),
            **self._asked.limits(),
            "weights": digest_of(self._asked.weights),
        }
        classes = summary["classes"]
        self._steps.carry_out(
            "converting to ONNX",
            weights,
            [self._onnx],
            lambda: self._asked.convert(classes, self._onnx),
        )
        self._edit(model)
        for name in self._pictures.sets():
            self._answer(name, classes, weights)
        served = self._lowered()
        proof = self._prove(model, served)
        content = served.read_bytes()
        if self._wish.plan:
            self._plan(model, classes, weights)
        note = self._note(model, summary, hashlib.sha256(content).hexdigest())
        folder, changed = land(model, content, note, proof, repository, self._wish.serving)
        return Result(folder, changed, proof)

    def _read(self) -> dict[str, Any]:
        self._steps.carry_out(
            "reading the checkpoint",
            {**self._asked.tools(), "checkpoint": self._checkpoint.sha256},
            [self._asked.weights, self._summary],
            self._read_anew,
        )
        summary: dict[str, Any] = json.loads(self._summary.read_text(encoding="utf-8"))
        return summary

    def _read_anew(self) -> None:
        summary = self._asked.read(self._checkpoint.path)
        atomic.write(self._summary, json.dumps(summary, indent=2).encode())

    def _answer(self, name: str, classes: int, weights: dict[str, str]) -> None:
        frames, answers = self._pictures.rgb(name).file("images"), self._pictures.answers(name)
        title = "asking MMDetection" + ("" if name == "frames" else f" about {name} pictures")
        self._steps.carry_out(
            title,
            {**weights, "frames": digest_of(frames)},
            [answers],
            lambda: self._asked.answer(classes, frames, answers),
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
            pixels=self._wish.pixels,
            labels=checked_labels(labels, summary["classes"], str(checkpoint.path)),
        )

    def _edit(self, model: Model) -> None:
        untouched = gate.admit(
            self._onnx, sha256=digest_of(self._onnx), inputs=exported_inputs(self._wish.size)
        )
        edited = checked(graph.object_detector(untouched, model), model)
        content: bytes = edited.SerializeToString(deterministic=True)
        atomic.write(self._edited, content)
        gate.admit(self._edited, sha256=hashlib.sha256(content).hexdigest())

    def _lowered(self) -> Path:
        """The file that will be served: in float32, or the same in fewer bits."""
        if self._wish.precision == "fp32":
            return self._edited
        self._steps.carry_out(
            f"computing in {self._wish.precision}",
            {
                "source": digest_of(self._edited),
                "onnxruntime": version("onnxruntime"),
                "method": f"{METHOD} for {self._wish.accelerator}",
                "calibration": self._calibrated_on(),
            },
            [self._lower],
            self._compute,
        )
        gate.admit(self._lower, sha256=digest_of(self._lower))
        return self._lower

    def _compute(self) -> None:
        runs_on = self._wish.accelerator
        if self._wish.precision == "int8":
            content = int8(
                self._edited,
                self._pictures.sent("calibration").tensors(),
                symmetric=runs_on == "tensorrt",
                inputs_only=runs_on is not None,
            )
        else:
            content = fp16(self._edited)
        atomic.write(self._lower, content)

    def _plan(self, model: Model, classes: int, weights: dict[str, str]) -> None:
        """For a TensorRT elsewhere. What is served here meanwhile is the ONNX file."""
        source, folder = self._folder / "all.onnx", self._folder / "plan"
        self._steps.carry_out(
            "converting for a plan",
            weights,
            [source],
            lambda: self._asked.convert(classes, source, candidates=ALL),
        )
        untouched = gate.admit(
            source, sha256=digest_of(source), inputs=exported_inputs(self._wish.size)
        )
        planning.write(untouched, model, folder)
        self._console.print(
            f"{folder}: what TensorRT builds a plan of. Nothing was built, for that needs the GPU that will run it: "
            f"`sh {planning.SCRIPT}` there. Until then the ONNX file is served",
            highlight=False,
            soft_wrap=True,
        )

    def _calibrated_on(self) -> str:
        """Digest of the frames that int8 takes its ranges from."""
        if self._wish.precision != "int8":
            return ""
        return self._pictures.sent("calibration").digest()

    def _prove(self, model: Model, served: Path) -> Proof:
        self._console.print("comparing with MMDetection …", highlight=False)
        proof = Proving(self._wish, model, self._asked, self._pictures).proof(
            self._onnx, self._edited, served
        )
        # Written whether it passes or not: who has to mend something needs it most.
        atomic.write(self._folder / "parity.json", proof.model_dump_json(indent=2).encode())
        atomic.write(self._folder / "parity.txt", proof.text().encode())
        self._console.print(proof.text().rstrip(), highlight=False, markup=False, soft_wrap=True)
        proof.require()
        return proof

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
                "precision": self._wish.precision,
                "accelerator": self._wish.accelerator or "",
                "calibration": self._calibrated_on(),
                "pixels": self._wish.pixels,
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

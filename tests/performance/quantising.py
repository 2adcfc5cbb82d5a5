"""Ways to compute in int8: `python -m tests.performance.quantising [MODEL]` prints what each loses, and its CPU time.

AP and AP50 are agreement with float32, "by eye" is AP on people that were labelled by eye (tests/export/labelling.py).
MODEL is an edited object detector in float32 (`model.onnx` among an export's work files), else the public RTMDet-nano.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from onnx import version_converter
from rich.console import Console

from export import coco
from export.cost import Cost
from export.detecting import Pixels, by_served, session_of
from export.frames import gather
from export.labelled import Labelled
from export.lowered import SURE
from export.lowering import CALIBRATED_ON, Method, int8
from export.manifest import load
from export.mmdeploy.average_precision import evaluate
from export.prepare import edit
from orchestrator.errors import ModelError
from orchestrator.inference.letterbox import letterbox
from tests.export.labelling import BY_EYE, extracted, judged
from tests.performance.machine import ROOT

CLIPS = ROOT.parent / "shared" / "videos"
MODELS = ROOT.parent / "shared" / "models"
FRAMES = 48
OPSET = 17
# Ranges; around zero or with an offset; what is between convolutions.
WAYS: tuple[tuple[Method, bool, bool], ...] = (
    ("Percentile", False, False),
    ("Percentile", False, True),
    ("Percentile", True, False),
    ("Percentile", True, True),
    ("Entropy", False, False),
    ("Entropy", True, True),
    ("MinMax", False, False),
    ("MinMax", False, True),
    ("MinMax", True, True),
)
LINE = "{:<12}{:<13}{:<9}{:>6}{:>7}{:>8}{:>14}{:>10}"


def main(
    model: Annotated[Path | None, typer.Argument()] = None,
    clips: Annotated[Path, typer.Option()] = CLIPS,
    models: Annotated[Path, typer.Option()] = MODELS,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        served = model or _public(models, folder)
        size = onnx.load(served).graph.input[0].type.tensor_type.shape.dim[1].dim_value
        frames, calibration = (gather([clips], count, size) for count in (FRAMES, CALIBRATED_ON))
        people = Labelled.read(BY_EYE, extracted(clips, folder))
        _tell(
            "ranges", "activations", "between", "AP", "AP50", "by eye", "ONNX Runtime", "OpenVINO"
        )
        whole = _by_eye(served, people, size), "1.00"
        _tell("", "float32", "", "", "", *whole, _time(served, served, frames, on_openvino=True))
        for method, symmetric, inputs_only in WAYS:
            path = folder / "int8.onnx"
            content = int8(
                served,
                {"images": calibration},
                symmetric=symmetric,
                inputs_only=inputs_only,
                method=method,
            )
            path.write_bytes(content)
            figures = _agreement(served, path, frames, size, folder)
            _tell(
                method,
                "around zero" if symmetric else "with offset",
                "float" if inputs_only else "int8",
                f"{figures['ap']:.1f}",
                f"{figures['ap50']:.1f}",
                _by_eye(path, people, size),
                *(_time(path, served, frames, on_openvino=which) for which in (False, True)),
            )


def _tell(*words: str) -> None:
    """A line at once, for the next one takes a while."""
    Console().print(LINE.format(*words), highlight=False)


def _public(models: Path, folder: Path) -> Path:
    nano = load().model("rtmdet_nano_person_320")
    path = folder / "model.onnx"
    onnx.save(version_converter.convert_version(edit(models / nano.file, nano), OPSET), path)
    return path


def _agreement(
    served: Path, lower: Path, frames: Pixels, size: int, folder: Path
) -> dict[str, float]:
    whole, fewer = by_served(served, frames), by_served(lower, frames)
    truth, _ = coco.truth(whole, SURE, size)
    classes = {int(label): int(label) for each in whole for label in each.labels}
    rows = coco.results(fewer, range(len(fewer)), coco.as_they_are(len(fewer), size), classes)
    (folder / "truth.json").write_text(truth)
    (folder / "rows.json").write_text(rows)
    job = {"truth": str(folder / "truth.json"), "detections": {"it": str(folder / "rows.json")}}
    with contextlib.redirect_stdout(io.StringIO()):
        figures: dict[str, float] = evaluate(job)["figures"]["it"]
    return figures


def _by_eye(model: Path, people: Labelled, size: int) -> str:
    boxed = [letterbox(picture, size) for picture in people.pictures()]
    scales = np.array([coco.scale_of(each) for each in boxed])
    rows = by_served(model, np.stack([each.image for each in boxed]))
    # A person is the first class of our networks and of COCO.
    return f"{judged(people, rows, scales, {0: people.categories[0].id}, people.folder).ap:.1f}"


def _time(one: Path, other: Path, frames: Pixels, *, on_openvino: bool) -> str:
    try:
        session = session_of(one, threads=1, on_openvino=on_openvino)
    except ModelError:
        return "not installed"
    picture = {"images": frames[:1]}
    return f"{Cost.of((one, session), (other, session_of(other, threads=1)), picture).time:.2f}"


if __name__ == "__main__":
    typer.run(main)

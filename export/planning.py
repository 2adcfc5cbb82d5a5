"""What TensorRT needs to build a plan, for the machine that has the GPU: a graph, its configuration, the command.

Nothing is built here. A plan fits one kind of GPU and one version of TensorRT, and its rows can only be compared there.
"""

from pathlib import Path

import onnx

from export import atomic, serving
from export.exported import ORIGIN
from export.graphs.plan import plan
from export.manifest import Model
from export.serving import Serving

SOURCE, BUILT, SCRIPT = "plan.onnx", "model.plan", "build.sh"


def write(untouched: onnx.ModelProto, model: Model, folder: Path) -> Path:
    """Write the folder and return it. Raises ModelError.

    Args:
        untouched: MMDeploy's file, exported with all candidates.
        model: names classes and size.
        folder: gets plan.onnx, build.sh, config.pbtxt and labels.txt.
    """
    made = plan(untouched, model)
    atomic.write(folder / SOURCE, made.SerializeToString(deterministic=True))
    atomic.write(folder / SCRIPT, command(made, model).encode())
    atomic.write(folder / serving.LABELS, "".join(f"{each}\n" for each in model.labels).encode())
    config = serving.config(model, made, origin=ORIGIN, serving=Serving("plan"))
    atomic.write(folder / "config.pbtxt", config.encode())
    return folder


def command(made: onnx.ModelProto, model: Model) -> str:
    """A script that builds the plan for every batch that the configuration allows."""
    batch = serving.LARGEST_BATCH[model.slot]
    smallest, largest = (serving.profile(made.graph.input, rows) for rows in (1, batch))
    return (
        "#!/bin/sh\n"
        "# On the GPU that will serve it, with the TensorRT of the Triton that will:\n"
        "# nvcr.io/nvidia/tensorrt:24.10-py3 for nvcr.io/nvidia/tritonserver:24.10-py3. Takes minutes.\n"
        f"exec trtexec --onnx={SOURCE} --saveEngine={BUILT} --minShapes={smallest} "
        f'--optShapes={largest} --maxShapes={largest} "$@"\n'
    )

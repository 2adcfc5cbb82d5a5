"""The convolutions of a detector in fewer bits; pixels, decoding, suppression and rows stay in float32.

int8  quantised statically: weights by channel, activations by their range on the operator's own clips. Written as
      QuantizeLinear and DequantizeLinear of the ONNX standard, which every runtime fuses in its own way.
fp16  weights and activations in half precision, for GPUs.

The layers that end in boxes and scores are left in float32 as well: they are few, and 8 bits are no coordinate.
"""

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any, Literal

import onnx

from export.graphs.half import half
from export.graphs.trunk import across_channels, inner_convolutions
from orchestrator.errors import ModelError
from orchestrator.inference.pixels import Tensors

# Frames that the ranges are taken from.
CALIBRATED_ON = 32
# Of each activation, from both ends: single extremes of depthwise convolutions would cost all others their resolution.
# Where these stay in float, the whole range is better. docs/export.md compares them.
PERCENTILE = 99.99
Method = Literal["Percentile", "Entropy", "MinMax"]
METHOD = f"by channel: Percentile {PERCENTILE}, or MinMax without depthwise ones"


class _Frames:
    """One frame at a time, so that only one frame's activations are in memory."""

    def __init__(self, frame: Tensors) -> None:
        self._left = [frame]

    def get_next(self) -> Tensors | None:
        return self._left.pop() if self._left else None


def int8(
    served: Path,
    frames: Tensors,
    *,
    symmetric: bool,
    inputs_only: bool,
    method: Method | None = None,
) -> bytes:
    """Quantise. Raises ModelError where the quantiser is missing.

    Args:
        served: the edited graph, in float32.
        frames: that the ranges are taken from, by the names of the inputs.
        symmetric: activations around zero, as TensorRT wants them; else with an offset, which is twice as fine.
        inputs_only: whether answers stay in float, for runtimes that fuse them with what follows; see `_nodes`.
        method: how ranges are found; None: as is said at PERCENTILE.
    """
    quantization, calibrate = _quantiser()
    method = method or ("MinMax" if inputs_only else "Percentile")
    kind = quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8
    how = quantization.CalibrationMethod[method]
    with tempfile.TemporaryDirectory(dir=served.parent) as folder, _quiet():
        ranges, target = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
        calibrator = calibrate.create_calibrator(
            served, ["Conv"], f"{folder}/all.onnx", how, extra_options=_ranges(method, symmetric)
        )
        calibrate.save_tensors_data(_seen(calibrator, frames), ranges)
        quantization.quantize_static(
            str(served),
            str(target),
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=_nodes(onnx.load(served), inputs_only),
            per_channel=True,
            activation_type=kind,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=how,
            calibration_cache_path=ranges,
            extra_options=_options(symmetric, inputs_only),
        )
        return _finished(onnx.load(target))


def _nodes(model: onnx.ModelProto, inputs_only: bool) -> list[str]:
    """Where answers stay in float, depthwise ones do too: it costs OpenVINO no time, and most of the loss is gone."""
    return across_channels(model) if inputs_only else inner_convolutions(model)


def _seen(calibrator: Any, frames: Tensors) -> Any:
    """The ranges, one frame after the other."""
    for number in range(len(next(iter(frames.values())))):
        one = slice(number, number + 1)
        calibrator.collect_data(_Frames({name: rows[one] for name, rows in frames.items()}))
    return calibrator.compute_data()


def _ranges(method: Method, symmetric: bool) -> dict[str, Any]:
    percentile = {"percentile": PERCENTILE} if method == "Percentile" else {}
    return {"symmetric": symmetric, **percentile}


def _options(symmetric: bool, inputs_only: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"ActivationSymmetric": symmetric, "WeightSymmetric": True}
    if inputs_only:
        options["OpTypesToExcludeOutputQuantization"] = ["Conv"]
    return options


def fp16(served: Path) -> bytes:
    """Halve. Raises ModelError."""
    return _finished(half(onnx.load(served)))


def _finished(model: onnx.ModelProto) -> bytes:
    # Notes of the tools, and shapes that were inferred on the way: nothing needs them.
    del model.graph.value_info[:]
    kept = [entry for entry in model.metadata_props if entry.key.startswith("fess.")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.producer_name = "fess"
    model.producer_version = ""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextlib.contextmanager
def _quiet() -> Any:
    """The tools print, and warn at the root logger of what was chosen here on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _quantiser() -> tuple[Any, Any]:
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization import calibrate
    except ImportError as error:
        raise _missing(error) from error
    return quantization, calibrate


def _missing(error: ImportError) -> ModelError:
    return ModelError(f"ONNX Runtime is not installed ({error.name}): pip install 'fess[embedded]'")

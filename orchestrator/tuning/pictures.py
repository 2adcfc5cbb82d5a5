"""What a model is asked while it is measured: frames of a clip where it looks at pictures, else noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import frames
from orchestrator.errors import SettingsError
from orchestrator.inference.triton import DTYPES, ServedModel, TensorSpec

COUNT = 16
SEED = 20260314

# An array for a model with one input, else arrays by the inputs' names.
Request = Any


def requests(model: ServedModel, clips: Sequence[Path]) -> tuple[list[Request], str]:
    """Requests of one row each, all different, and what they are in words. Raises SettingsError, ModelError."""
    (first, *others) = model.inputs
    if clips and not others and _is_rgb(first):
        pictures = frames.gather(clips, COUNT, first.shape[1])
        return [picture[None] for picture in pictures], f"{len(pictures)} frames of {clips[0].name}"
    rng = np.random.default_rng(SEED)
    made = [{spec.name: _noise(model, spec, rng) for spec in model.inputs} for _ in range(COUNT)]
    asked = [tensors if others else tensors[first.name] for tensors in made]
    return asked, f"{COUNT} pictures of noise"


def _is_rgb(spec: TensorSpec) -> bool:
    shape = spec.shape[1:]
    return spec.datatype == "UINT8" and len(shape) == 3 and shape[2] == 3 and shape[0] == shape[1]


def _noise(model: ServedModel, spec: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
    dtype, shape = DTYPES.get(spec.datatype), spec.shape[1:]
    if dtype is None or any(size < 1 for size in shape):
        raise SettingsError(
            f"{model.version.name}: its input {spec.name} is {spec.datatype} {shape}; "
            f"to be measured it must have fixed sizes and be one of {', '.join(DTYPES)}"
        )
    if np.issubdtype(dtype, np.floating):
        return rng.random((1, *shape)).astype(dtype)
    # Digits: an input of integers may be an index into something small.
    return rng.integers(0, 256 if dtype is np.uint8 else 10, (1, *shape)).astype(dtype)

"""What a model is asked while it is measured: frames of a clip where it looks at pictures, else noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import frames
from orchestrator.errors import SettingsError
from orchestrator.inference.triton import ServedModel

COUNT = 16
SEED = 20260314
DTYPES = {"UINT8": np.uint8, "FP32": np.float32, "INT32": np.int32, "INT64": np.int64}

# An array for a model with one input, else arrays by the inputs' names.
Request = Any


def requests(model: ServedModel, clips: Sequence[Path]) -> tuple[list[Request], str]:
    """Requests of one row each, all different, and what they are in words. Raises SettingsError, ModelError."""
    (first, *others) = model.inputs
    if clips and not others and _is_rgb(first.shape[1:], first.datatype):
        pictures = frames.gather(clips, COUNT, first.shape[1])
        return [picture[None] for picture in pictures], f"{len(pictures)} frames of {clips[0].name}"
    rng = np.random.default_rng(SEED)
    for spec in model.inputs:
        if spec.datatype not in DTYPES or any(size < 1 for size in spec.shape[1:]):
            raise SettingsError(
                f"{model.version.name}: its input {spec.name} is {spec.datatype} {spec.shape[1:]}; "
                f"to be measured it must have fixed sizes and be one of {', '.join(DTYPES)}"
            )
    made = [
        {spec.name: _noise(spec.shape[1:], spec.datatype, rng) for spec in model.inputs}
        for _ in range(COUNT)
    ]
    asked = [tensors if others else tensors[first.name] for tensors in made]
    return asked, f"{COUNT} pictures of noise"


def _is_rgb(shape: tuple[int, ...], datatype: str) -> bool:
    return datatype == "UINT8" and len(shape) == 3 and shape[2] == 3 and shape[0] == shape[1]


def _noise(shape: tuple[int, ...], datatype: str, rng: np.random.Generator) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    if np.issubdtype(dtype, np.floating):
        return rng.random((1, *shape)).astype(dtype)
    # Digits: an input of integers may be an index into something small.
    return rng.integers(0, 256 if dtype is np.uint8 else 10, (1, *shape)).astype(dtype)

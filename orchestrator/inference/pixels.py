"""What an object detector is sent of a picture: whichever of three kinds of pixels its inputs ask for.

images                RGB, scaled and padded here
luma, chroma, colour  planar YUV, scaled and padded here: the network's own size
luma, chroma, colour  planar YUV as it was decoded, of any size: the graph scales and pads
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import SettingsError
from orchestrator.inference.letterbox import PAD_VALUE, Placement, fit, letterbox
from orchestrator.inference.wire import ServedModel
from orchestrator.picture import Picture
from orchestrator.planes import GREY, Planes

Tensors = Mapping[str, NDArray[Any]]
Pixels = Callable[[Picture], tuple[Tensors, Placement]]


def pixels_for(model: ServedModel) -> Pixels:
    """Raises SettingsError for a model that takes something else."""
    shapes = {spec.name: spec.shape for spec in model.inputs}
    if shapes.keys() == {"images"}:
        size = shapes["images"][1]
        return lambda picture: rgb(picture, size)
    if shapes.keys() == {"luma", "chroma", "colour"}:
        size = shapes["luma"][1]
        return decoded if size == -1 else lambda picture: planar(picture, size)
    raise SettingsError(
        f"model {model.version.name} takes {', '.join(shapes)}, which FESS cannot send; run `fess models prepare`"
    )


def rgb(picture: Picture, size: int) -> tuple[Tensors, Placement]:
    boxed = letterbox(picture, size)
    return {"images": boxed.image[None]}, boxed


def planar(picture: Picture, size: int) -> tuple[Tensors, Placement]:
    wide, high = fit(picture.width, picture.height, size, even=True)
    scaled = picture.planes((wide, high))
    luma = np.full((1, size, size), scaled.luma_of(PAD_VALUE), np.uint8)
    luma[0, :high, :wide] = scaled.luma
    chroma = np.full((1, 2, size // 2, size // 2), GREY, np.uint8)
    chroma[0, :, : high // 2, : wide // 2] = scaled.chroma
    scale = (wide / picture.width, high / picture.height)
    return _tensors(luma, chroma, scaled), Placement(scale, 0, 0, picture.width, picture.height)


def decoded(picture: Picture) -> tuple[Tensors, Placement]:
    planes = picture.planes(None)
    whole = Placement((1.0, 1.0), 0, 0, picture.width, picture.height)
    return _tensors(planes.luma[None], planes.chroma[None], planes), whole


def _tensors(luma: NDArray[np.uint8], chroma: NDArray[np.uint8], planes: Planes) -> Tensors:
    return {"luma": luma, "chroma": chroma, "colour": planes.colour[None]}

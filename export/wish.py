"""What an operator asks of an export, and which of it can be had."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from export.accuracy import MOST_LOSS
from export.lowered import MOST_LOSS as LOWERED_MOST_LOSS
from export.manifest import Pixels
from export.parity import Tolerance
from export.rtmdet import Network
from export.serving import Accelerator, Precision, Serving
from orchestrator.errors import ModelError

FRAMES = 24
# MMDetection runs on other kernels than ONNX Runtime. In float32 a coordinate is the less exact the larger it is:
# half a pixel up to a side of 640, more for larger ones.
PX_OF_SIDE = 1 / 1280


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for.

    labels       names of the classes; None: those that the checkpoint notes
    pictures     clips and photographs that show what the model detects
    count        how many frames of them are compared
    labelled     annotations in COCO's format, to measure AP on; None: it is not measured
    images       folder of the labelled pictures; None: that of the annotations
    calibration  clips and photographs that int8 takes its ranges from; empty: `pictures`
    pixels       what the served model takes
    accelerator  what runs the graph on a processor or a GPU, where it is not ONNX Runtime alone
    plan         whether the files for a TensorRT plan are written as well
    most_loss    points of AP that may be lost; None: the precision's own limit
    """

    network: Network
    size: int
    labels: tuple[str, ...] | None
    pictures: tuple[Path, ...] = ()
    count: int = FRAMES
    labelled: Path | None = None
    images: Path | None = None
    precision: Precision = "fp32"
    calibration: tuple[Path, ...] = ()
    pixels: Pixels = "rgb"
    accelerator: Accelerator | None = None
    plan: bool = False
    most_loss: float | None = None

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(box_px=max(0.5, self.size * PX_OF_SIDE))

    @property
    def serving(self) -> Serving:
        return Serving(self.accelerator, self.precision)

    @property
    def lowered_most_loss(self) -> float:
        return LOWERED_MOST_LOSS if self.most_loss is None else self.most_loss

    @property
    def fp32_most_loss(self) -> float:
        """Of the same weights in float32; another precision has its own limit."""
        if self.most_loss is not None and self.precision == "fp32":
            return self.most_loss
        # Planes show a picture a little differently, which costs as much as fewer bits may.
        return MOST_LOSS if self.pixels == "rgb" else LOWERED_MOST_LOSS


def used(wish: Wish, calibration: tuple[Path, ...]) -> Wish:
    """With what int8 is calibrated on. Raises ModelError for what was given and would do nothing."""
    if wish.labelled is None and wish.images is not None:
        raise ModelError(
            f"IMAGES={wish.images}: are pictures of annotations; give these with LABELLED=path"
        )
    if wish.labelled is None and wish.most_loss is not None:
        raise ModelError(
            f"AP_LOSS={wish.most_loss}: is measured on labelled pictures; give these with LABELLED=path"
        )
    if wish.precision != "int8" and calibration:
        raise ModelError(
            f"CALIBRATION: PRECISION={wish.precision} is not calibrated; add PRECISION=int8, or leave it out"
        )
    return replace(wish, calibration=calibration)


def checked(
    form: str, precision: str, accelerator: str | None, pixels: Pixels = "rgb"
) -> tuple[Precision, Accelerator | None]:
    """What of it can be had together. Raises ModelError with the way that there is."""
    if form not in {"onnx", "tensorrt", "plan"}:
        raise ModelError(
            f"FORMAT={form}: not known; onnx, or tensorrt for a GPU's own engines, or plan to build one there yourself"
        )
    if precision not in {"fp32", "fp16", "int8"}:
        raise ModelError(f"PRECISION={precision}: not known; fp32, fp16 or int8")
    if accelerator not in {None, "", "openvino"}:
        raise ModelError(
            f"ACCELERATOR={accelerator}: not known; openvino, or none for ONNX Runtime alone"
        )
    if form == "plan" and precision != "fp32":
        raise ModelError(
            f"FORMAT=plan PRECISION={precision}: a plan is made of the fp32 graph, and its precision chosen where "
            "it is built; export PRECISION=fp32"
        )
    if form in {"tensorrt", "plan"}:
        if pixels == "decoded":
            raise ModelError(
                f"FORMAT={form} PIXELS=decoded: an engine is built for one size of picture, and decoded ones have any; "
                "export PIXELS=planar, or FORMAT=onnx, for which TensorRT builds as it meets sizes"
            )
        if accelerator == "openvino":
            raise ModelError(
                f"FORMAT={form} is for a GPU, ACCELERATOR=openvino for a processor: choose one"
            )
        if precision == "fp16":
            raise ModelError(
                "FORMAT=tensorrt PRECISION=fp16: TensorRT would compute coordinates in fp16 too, a quarter of a pixel "
                "apart, and nothing here can measure it; export FORMAT=onnx PRECISION=fp16, which keeps them in fp32"
            )
        return cast(Precision, precision), "tensorrt"
    return cast(Precision, precision), cast(Accelerator | None, accelerator or None)

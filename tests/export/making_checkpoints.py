"""Makes checkpoints as MMEngine's trainer saves them; run by the Python of the export environment, with PyTorch.

    seeded NETWORK-CONFIG CHANGES CLASSES TARGET   weights drawn from a seed, that find something in most pictures
    recovered ONNX TARGET                          the trained weights of the public RTMDet-nano export

No public checkpoint can be had everywhere; the public ONNX file of RTMDet-nano can, and holds the same weights with
the normalisation folded into the convolutions.
"""

import sys
from pathlib import Path
from typing import Any

import numpy
import onnx
import torch  # type: ignore[import-not-found]  # lives in the export environment only
from mmdet.registry import MODELS  # type: ignore[import-not-found]
from mmengine.logging import HistoryBuffer  # type: ignore[import-not-found]
from onnx import numpy_helper

from export.mmdeploy import network

SEED = 7
# So that of some hundred thousand scores of an untrained network a few are above the least that is looked at.
UNLIKELY = -4.5
SPREADS = {"cls": 0.02, "reg": 0.002}


def built(config: str, changes: str, classes: int, size: int) -> Any:
    job = {
        "config": config,
        "changes": changes,
        "size": size,
        "score": 0.05,
        "iou": 0.65,
        "rows": 100,
    }
    return MODELS.build(network.config(job, classes).model)


def saved(model: Any, target: Path, classes: list[str] | None) -> None:
    """With what a trainer notes beside the weights, which is more than data."""
    meta = {"epoch": 1, "dataset_meta": {"classes": tuple(classes)}} if classes else {"epoch": 1}
    curve = HistoryBuffer([2.0, 1.0], [1, 1])
    hub = {
        "log_scalars": {"train/loss": curve},
        "seen": numpy.arange(3),
        "rate": numpy.float64(0.1),
    }
    torch.save({"meta": meta, "state_dict": model.state_dict(), "message_hub": hub}, target)


def seeded(config: str, changes: str, classes: int, target: Path) -> None:
    torch.manual_seed(SEED)
    model = built(config, changes, classes, 320)
    for name, value in model.state_dict().items():
        if value.ndim == 4:
            torch.nn.init.kaiming_normal_(value)
        for head, offset in (("cls", UNLIKELY), ("reg", 2.0)):
            if name.startswith(f"bbox_head.rtm_{head}"):
                spread = SPREADS[head]
                torch.nn.init.normal_(value, *((0, spread) if value.ndim == 4 else (offset, 0)))
    for each in model.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            each.momentum = None  # means and variances of all that is seen, as after a training
    shapes = torch.nn.functional.interpolate(torch.randn(8, 3, 10, 10), 320)
    with torch.no_grad():
        model.train()(shapes, mode="tensor")
    saved(model.eval(), target, None)


def recovered(source: Path, target: Path) -> None:
    """The convolutions of both run in the same order; each batch norm takes its folded offset and does no more."""
    model = built("rtmdet/rtmdet_l_8xb32-300e_coco.py", "nano", 1, 320)
    model.eval()
    order: list[Any] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda each, *_: order.append(each))
    norms = {
        id(each.conv): each.bn
        for each in model.modules()
        if hasattr(each, "bn") and hasattr(each, "conv")
    }
    with torch.no_grad():
        model(torch.zeros(1, 3, 320, 320), mode="tensor")
    graph = onnx.load(str(source)).graph
    tensors = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    folded = [each for each in graph.node if each.op_type == "Conv"]
    assert len(folded) == len(order), (len(folded), len(order))
    for node, module in zip(folded, order, strict=True):
        kernel, *offset = (torch.from_numpy(tensors[name].copy()) for name in node.input[1:])
        assert kernel.shape == module.weight.shape
        module.weight.data = kernel
        if module.bias is not None:
            module.bias.data = offset[0]
            continue
        norm = norms[id(module)]
        norm.bias.data = offset[0]
        norm.weight.data.fill_(1)
        norm.running_mean.fill_(0)
        norm.running_var.fill_(1 - norm.eps)
    saved(model, target, ["person"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seeded", config, changes, classes, target]:
            seeded(config, changes, int(classes), Path(target))
        case ["recovered", source, target]:
            recovered(Path(source), Path(target))
        case _:
            sys.exit(__doc__)

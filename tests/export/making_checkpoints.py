"""Makes checkpoints as MMDetection saves them; run by the Python of the export environment, with PyTorch.

    seeded NETWORK-CONFIG CHANGES CLASSES TARGET   weights drawn from a seed, that find something in most pictures
    recovered ONNX TARGET                          the trained weights of the public RTMDet-nano export

No public checkpoint can be had everywhere; the public ONNX file of RTMDet-nano can, and holds the same weights with
the normalisation folded into the convolutions.
"""

import sys
from pathlib import Path
from typing import Any

import onnx
import torch  # type: ignore[import-not-found]  # lives in the export environment only
from mmdet.registry import MODELS  # type: ignore[import-not-found]
from onnx import numpy_helper

from export.mmdeploy import network

SEED = 7
# So many scores of untrained networks are above the least one that is looked at.
LIKELY = -3.2


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
    meta = {"epoch": 1, "dataset_meta": {"classes": tuple(classes)}} if classes else {"epoch": 1}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, target)


def seeded(config: str, changes: str, classes: int, target: Path) -> None:
    torch.manual_seed(SEED)
    model = built(config, changes, classes, 320)
    for name, value in model.state_dict().items():
        if name.startswith("bbox_head.rtm_cls"):
            if name.endswith("bias"):
                torch.nn.init.constant_(value, LIKELY)
            else:
                torch.nn.init.normal_(value, std=0.05)
        elif name.startswith("bbox_head.rtm_reg") and name.endswith("bias"):
            torch.nn.init.constant_(value, 4.0)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(value, 0.2, 0.6)
        elif value.ndim == 4:
            torch.nn.init.kaiming_normal_(value)
    saved(model, target, None)


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

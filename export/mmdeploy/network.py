"""RTMDet as MMDetection configures it, ready for one size and any number of classes."""

from pathlib import Path
from typing import Any

import mmdet  # type: ignore[import-not-found]  # lives in the export environment only
from mmdet.registry import MODELS  # type: ignore[import-not-found]
from mmdet.utils import register_all_modules  # type: ignore[import-not-found]
from mmengine import Config  # type: ignore[import-not-found]

from export.mmdeploy.refused import Refused

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
# One row of these per class; where it is 1 the network tells one class from the background.
CLASS_LAYER = "bbox_head.rtm_cls.0.weight"

# MMPose's person detector, which MMDetection's wheel does not carry: RTMDet-l with these changes.
NANO = {
    "backbone": {"deepen_factor": 0.33, "widen_factor": 0.25, "use_depthwise": True},
    "neck": {
        "in_channels": [64, 128, 256],
        "out_channels": 64,
        "num_csp_blocks": 1,
        "use_depthwise": True,
    },
    "bbox_head": {
        "in_channels": 64,
        "feat_channels": 64,
        "share_conv": False,
        "exp_on_reg": False,
        "use_depthwise": True,
    },
}
CHANGES: dict[str, dict[str, Any]] = {"nano": NANO}


def config(job: dict[str, Any], classes: int) -> Any:
    """MMDetection's configuration; `job` gives config, changes, size and the suppression's limits."""
    register_all_modules(init_default_scope=True)
    chosen = Config.fromfile(CONFIGS / job["config"])
    chosen.merge_from_dict({"model": CHANGES.get(job["changes"], {})})
    chosen.model.bbox_head.num_classes = classes
    # Weights come from the checkpoint alone; MMDetection would fetch ImageNet's for the backbone.
    chosen.model.backbone.init_cfg = None
    _without_sync(chosen.model)
    size = job["size"]
    chosen.model.test_cfg.score_thr = job["score"]
    chosen.model.test_cfg.nms.iou_threshold = job["iou"]
    chosen.model.test_cfg.max_per_img = job["rows"]
    for step in chosen.test_pipeline:
        if step.type == "Resize":
            step.scale = (size, size)
        if step.type == "Pad":
            step.size = (size, size)
    return chosen


def classes_in(state: dict[str, Any]) -> int:
    """Raises Refused where there is no head of an RTMDet."""
    if CLASS_LAYER not in state:
        raise Refused(f"is no RTMDet: it has no {CLASS_LAYER}")
    return int(state[CLASS_LAYER].shape[0])


def fits(state: dict[str, Any], chosen: Any) -> None:
    """Raises Refused unless the tensors are those of the network, by name and shape, all of them and no others."""
    wanted = {
        key: tuple(value.shape) for key, value in MODELS.build(chosen.model).state_dict().items()
    }
    found = {key: tuple(value.shape) for key, value in state.items()}
    # Counters of training steps are no weights, and older versions did not save them.
    lost = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    strange = [key for key in found if key not in wanted]
    other = [key for key in found if key in wanted and found[key] != wanted[key]]
    if lost or strange or other:
        first = (lost or strange or other)[0]
        raise Refused(
            f"has other layers than the model that was asked for: {len(lost)} missing, {len(strange)} unknown, "
            f"{len(other)} of another shape (the first: {first}, {found.get(first)} for {wanted.get(first)})"
        )


def _without_sync(node: Any) -> None:
    """SyncBN belongs to training on many GPUs; its weights are those of plain BN."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list):
            _without_sync(value)
    if isinstance(node, dict) and node.get("type") == "SyncBN":
        node["type"] = "BN"

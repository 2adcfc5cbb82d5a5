"""Average precision as COCO defines it, by COCO's own tool, which is in the export environment."""

import json
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Places in what COCOeval.summarize leaves.
FIGURES = {"ap": 0, "ap50": 1, "ar": 8}


def evaluate(job: dict[str, Any]) -> dict[str, Any]:
    """Figures in points (0 to 100) for each file of `job["detections"]` against `job["truth"]`.

    ap    mean over classes and IoU from 0.50 to 0.95
    ap50  at IoU 0.50
    ar    recall with up to 100 rows a picture, mean over the same
    """
    truth = COCO(job["truth"])
    found = {}
    for name, file in job["detections"].items():
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
        found[name] = _figures(truth, rows)
    return {"figures": found}


def _figures(truth: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    if not rows:  # pycocotools cannot read an empty list
        return dict.fromkeys(FIGURES, 0.0)
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {name: 100.0 * float(evaluation.stats[place]) for name, place in FIGURES.items()}

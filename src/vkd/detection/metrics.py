"""COCO's average precision, by faster-coco-eval."""

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

NAMES = (
    "AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge",
    "AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge",
)  # fmt: skip


def average_precision(
    ground_truth: dict[str, Any], records: list[dict[str, Any]]
) -> dict[str, float]:
    """Return COCO's metrics of boxes in %; -1 where there are no objects of that kind.

    Args:
        ground_truth: images, annotations and categories in COCO's format.
        records: detections in COCO's results format.
    """
    if not records:
        return dict.fromkeys(NAMES, 0.0)
    evaluation = _accumulated(ground_truth, records)
    evaluation.summarize()
    stats = [float(value) for value in evaluation.stats[: len(NAMES)]]
    return {
        name: 100 * value if value >= 0 else value for name, value in zip(NAMES, stats, strict=True)
    }


def precision_by_recall(ground_truth: dict[str, Any], records: list[dict[str, Any]]) -> np.ndarray:
    """Return the precision (overlaps, recalls, categories) of at most 100 boxes of an image.

    Overlaps are 0.5, 0.55 to 0.95, recalls 0, 0.01 to 1, and categories in the order of their ids;
    -1 for categories without objects.

    Args:
        ground_truth, records: as in ``average_precision``, with one detection or more.
    """
    return np.asarray(_accumulated(ground_truth, records).eval["precision"])[..., 0, -1]


def _accumulated(ground_truth: dict[str, Any], records: list[dict[str, Any]]) -> COCOeval_faster:
    truth = COCO(ground_truth, use_deepcopy=True)
    evaluation = COCOeval_faster(truth, truth.loadRes(records), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation

"""COCO's average precision, by faster-coco-eval."""

from typing import Any

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
    truth = COCO(ground_truth, use_deepcopy=True)
    if not records:
        return dict.fromkeys(NAMES, 0.0)
    evaluation = COCOeval_faster(truth, truth.loadRes(records), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = [float(value) for value in evaluation.stats[: len(NAMES)]]
    return {
        name: 100 * value if value >= 0 else value for name, value in zip(NAMES, stats, strict=True)
    }

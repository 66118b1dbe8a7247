"""From a detector's outputs to scored boxes, and to the records of COCO's results format."""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_convert


def best_detections(
    outputs: dict[str, Tensor], sizes: Tensor, count: int = 100, softmax: bool = False
) -> list[dict[str, Tensor]]:
    """Return the best (query, class) pairs of each image.

    Where classes exclude each other these are the best class of each query, in the order of
    queries.

    Args:
        outputs: ``pred_logits`` (B, D, classes) and ``pred_boxes`` (B, D, 4).
        sizes: (height, width) of the original images in pixels, (B, 2).
        count: most pairs to return.
        softmax: whether classes exclude each other, the last being "no object".

    Returns:
        For each image ``scores`` (falling, but with ``softmax``), ``labels`` and ``boxes``
        (corners, in pixels).
    """
    logits = outputs["pred_logits"].float()
    boxes = box_convert(outputs["pred_boxes"].float(), "cxcywh", "xyxy")
    if softmax:
        scores, labels = logits.softmax(-1)[..., :-1].max(-1)
    else:
        chance = logits.sigmoid()
        scores, indices = chance.flatten(1).topk(min(count, chance[0].numel()), 1)
        queries, labels = indices // chance.shape[2], indices % chance.shape[2]
        boxes = boxes.gather(1, queries[..., None].expand(-1, -1, 4))
    boxes = boxes * sizes.flip(1).repeat(1, 2)[:, None].to(boxes)
    return [
        {"scores": score, "labels": label, "boxes": box}
        for score, label, box in zip(scores, labels, boxes, strict=True)
    ]


def coco_records(
    detections: list[dict[str, Tensor]], image_ids: list[int], category_ids: list[int]
) -> list[dict[str, Any]]:
    """Return records of COCO's results format; labels without a category (id -1) are left out.

    Args:
        detections: of ``best_detections``.
        image_ids: of the images.
        category_ids: the category of each label.
    """
    records = []
    for found, image_id in zip(detections, image_ids, strict=True):
        boxes = box_convert(found["boxes"], "xyxy", "xywh").tolist()
        rows = zip(found["scores"].tolist(), found["labels"].tolist(), boxes, strict=True)
        records += [
            {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": [round(value, 3) for value in box],
                "score": round(score, 6),
            }
            for score, label, box in rows
            if category_ids[label] >= 0 and torch.tensor(score).isfinite()
        ]
    return records

"""Average precision against pycocotools."""

import numpy as np
import pytest
import torch

from support.coco import clean_split
from vkd.detection.categories import categories_of
from vkd.detection.coco import CocoImages
from vkd.detection.metrics import NAMES, average_precision
from vkd.detection.postprocess import best_detections, coco_records
from vkd.detection.transforms import detection_transform


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_those_of_pycocotools(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(seed)
    images = [{"id": i, "height": 400, "width": 500, "file_name": f"{i}.jpg"} for i in range(30)]
    truth, records = [], []
    for index in range(120):
        corner, size = random.uniform(0, 250, 2), random.uniform(4, 150, 2)
        image_id, category = int(random.integers(30)), int(random.integers(1, 5))
        truth.append({
            "id": index + 1, "image_id": image_id, "category_id": category,
            "iscrowd": int(random.random() < 0.1), "area": float(size.prod()),
            "bbox": [*corner.tolist(), *size.tolist()],
        })  # fmt: skip
        for _ in range(3):
            moved = np.concatenate([corner, size]) + random.normal(0, 6, 4)
            records.append({
                "image_id": image_id, "category_id": category if random.random() < 0.8 else 1,
                "bbox": np.maximum(moved, 1).tolist(), "score": float(random.random()),
            })  # fmt: skip
    categories = [{"id": index, "name": str(index)} for index in range(1, 5)]
    ground_truth = {"images": images, "annotations": truth, "categories": categories}
    ours = average_precision(ground_truth, records)
    reference = COCO()
    reference.dataset = ground_truth
    reference.createIndex()
    theirs = COCOeval(reference, reference.loadRes(records), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    for name, value in zip(NAMES, theirs.stats, strict=True):
        assert ours[name] == pytest.approx(100 * value if value >= 0 else value, abs=1e-6), name


def test_a_perfect_detector_has_the_best_precision(coco):
    folder, truth = clean_split(coco, "validation")
    data = CocoImages(folder, truth, categories_of(truth), detection_transform(0))
    records = []
    for index in range(len(data)):
        _, target = data[index]
        logits = torch.full((1, 5, 2), -9.0)
        boxes = torch.full((1, 5, 4), 0.5)
        for place, (label, box) in enumerate(zip(target["labels"], target["boxes"], strict=True)):
            logits[0, place, label], boxes[0, place] = 9.0, box
        best = best_detections({"pred_logits": logits, "pred_boxes": boxes},
                               target["original_size"][None])  # fmt: skip
        records += coco_records(best, [int(target["image_id"])], data.categories.ids)
    assert average_precision(truth, records)["AP"] == pytest.approx(100)
    assert average_precision(truth, [])["AP"] == 0

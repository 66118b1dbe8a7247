"""Data sets in COCO's format, of real digits."""

import json

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from vkd.detection.data import clean_place
from vkd.detection.formats.coco import coco_places

CATEGORIES = [{"id": 3, "name": "odd"}, {"id": 7, "name": "even"}]


def write_coco(folder, counts=(("train2017", 9), ("val2017", 7))):
    """Digits on grey canvases as JPEG, with boxes; the last image has none, the first a crowd."""
    images, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for split, count in counts:
        (folder / split).mkdir()
        entries, annotations = [], []
        for index in range(count):
            height, width = 64 + 8 * (index % 3), 96 - 16 * (index % 2)
            canvas = random.integers(0, 60, (height, width), dtype=np.uint8)
            image_id = 100 + 13 * index
            for _ in range(0 if index == count - 1 else 1 + index % 2):
                digit = random.integers(len(images))
                glyph = np.kron(images[digit].reshape(8, 8), np.ones((4, 4))) * 15
                top, left = random.integers(height - 32), random.integers(width - 32)
                canvas[top : top + 32, left : left + 32] = glyph
                annotations.append({
                    "id": len(annotations) + 1, "image_id": image_id, "area": 1024,
                    "category_id": 7 if labels[digit] % 2 == 0 else 3, "iscrowd": 0,
                    "bbox": [int(left), int(top), 32, 32],
                    "segmentation": [[int(left), int(top), int(left) + 32, int(top),
                                      int(left) + 32, int(top) + 32, int(left), int(top) + 32]],
                })  # fmt: skip
            if index == 0:
                annotations.append({
                    "id": 999, "image_id": image_id, "area": 400, "category_id": 3, "iscrowd": 1,
                    "bbox": [0, 0, 20, 20],
                    "segmentation": {"counts": [0, 400], "size": [20, 20]},
                })  # fmt: skip
            name = f"{image_id:012d}.jpg"
            Image.fromarray(canvas).save(folder / split / name)
            entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
        truth = {"images": entries, "annotations": annotations, "categories": CATEGORIES}
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(truth))
    return folder


def clean_split(folder, split):
    """The folder of a split's pictures, and its clean ground truth with masks."""
    place = coco_places(folder)[split]
    return place.pictures, clean_place(place, split == "train", with_masks=True).truth

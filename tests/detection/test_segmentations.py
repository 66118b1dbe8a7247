"""Masks that cannot be drawn are refused with the entry, before anything is drawn."""

import numpy as np
import pytest
from faster_coco_eval.core import mask

from vkd.detection.segmentations import check_segmentations
from vkd.errors import UserError


def check(segmentation, size=(30, 20)):
    annotation = {"id": 5, "image_id": 1, "iscrowd": 0, "segmentation": segmentation}
    check_segmentations([annotation], {1: size}, "a.json")


def test_polygons_and_run_lengths_are_taken():
    check([[1, 1, 9, 1, 9, 9]])
    random = np.random.default_rng(0)
    for density in (0.0, 0.1, 0.5, 1.0):
        drawn = np.asfortranarray(random.random((20, 30)) < density, dtype=np.uint8)
        packed = mask.encode(drawn)
        counts = packed["counts"]
        text = counts.decode() if isinstance(counts, bytes) else counts
        check({"counts": text, "size": [20, 30]})
    check({"counts": [100, 500], "size": [20, 30]})


@pytest.mark.parametrize(
    "garbage",
    [
        None, "x", [], [[1, 2, 3, 4]], [["a"] * 6], [[1, 1, 9, 1, 9, 9, 3]], 7,
        {"counts": [600], "size": [30, 20]}, {"counts": [10**12], "size": [10**6, 10**6]},
        {"counts": "~~~", "size": [20, 30]}, {"counts": "", "size": [20, 30]}, {"counts": [1]},
        {"counts": [100, -1, 501], "size": [20, 30]}, {"counts": None, "size": [20, 30]},
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_entry(garbage):
    with pytest.raises(UserError, match="1 of 1 annotations have no mask, the first annotation 5"):
        check(garbage)

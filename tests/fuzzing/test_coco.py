"""Annotations in COCO's format, with masks and without."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from fuzzing.mutations import dumped, json_files
from fuzzing.reading import answer_of, fuzzed
from vkd.detection.categories import categories_of
from vkd.detection.coco import CocoImages
from vkd.detection.data import clean_place
from vkd.detection.formats.coco import coco_places

TRUTH = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 12, "height": 8},
        {"id": 2, "file_name": "b.png", "width": 12, "height": 8},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 5, 4], "area": 20, "iscrowd": 0,
         "segmentation": [[2, 2, 7, 2, 7, 6, 2, 6]]},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 12, 8], "area": 96, "iscrowd": 0,
         "segmentation": {"size": [8, 12], "counts": [0, 96]}},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, 3, 3], "area": 9, "iscrowd": 1,
         "segmentation": {"size": [8, 12], "counts": "0P3"}},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}  # fmt: skip


def changed(**values):
    """The annotations with other values of the first."""
    first, *others = TRUTH["annotations"]
    return dumped(TRUTH | {"annotations": [first | values, *others]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "train").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (12, 8), 99).save(root / "train" / name)
    return root


@fuzzed(300)
@given(json_files(TRUTH), st.booleans())
@example(changed(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]), True)
@example(changed(segmentation=[[0.0, 0, 5e5, 5e8, 3, 3]]), True)
@example(changed(segmentation={"size": [8, 12], "counts": [10**30]}), True)
@example(changed(bbox=[10**400, 0, 1, 1]), False)
def test_annotations_are_served_or_refused_in_a_sentence(folder, content, with_masks):
    (folder / "train" / "_annotations.coco.json").write_bytes(content)

    def serve():
        place = coco_places(folder)["train"]
        cleaned = clean_place(place, True, with_masks)
        known = categories_of(cleaned.truth)
        images = CocoImages(
            place.pictures, cleaned.truth, known,
            lambda image, target: (pil_to_tensor(image), target),
            with_masks, substitute=True,
        )  # fmt: skip
        return [images[index] for index in range(len(images))]

    found = answer_of(serve)
    if isinstance(found, list):
        for _, target in found:
            assert target["boxes"].isfinite().all()

"""Digits on canvases."""

from support.canvases import few_canvases
from vkd.detection import canvases
from vkd.detection.canvases import read_digit_canvases
from vkd.detection.data import Request
from vkd.detection.transforms import detection_transform


def test_canvases_of_digits_hold_what_their_boxes_say():
    plain = detection_transform(0)
    names = ("train", "validation", "test")
    request = Request(splits=names, path="", training_transform=plain, transform=plain)
    with few_canvases(300, 60, 80):
        splits = read_digit_canvases(request)
        image, target = splits["test"][3]
        assert image.shape == (3, 64, 64)
        assert 1 <= len(target["boxes"]) <= 4
        canvases._compose_split.cache_clear()
        again = read_digit_canvases(request)["test"][3]
        assert again[0].equal(image)
        assert [len(split) for split in splits.values()] == [300, 60, 80]
        for split in splits.values():
            ids = {a["category_id"] for a in split.ground_truth["annotations"]}
            assert ids == set(range(1, 11))


def test_the_splits_have_the_sizes_of_the_documentation():
    assert canvases.SIZES == {"train": 3000, "validation": 200, "test": 400}

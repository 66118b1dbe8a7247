"""Digits on canvases."""

from vkd.detection.canvases import read_digit_canvases
from vkd.detection.transforms import detection_transform


def test_canvases_of_digits_hold_what_their_boxes_say():
    plain = detection_transform(0)
    splits = read_digit_canvases(plain, plain)
    image, target = splits["test"][3]
    assert image.shape == (3, 64, 64)
    assert 1 <= len(target["boxes"]) <= 4
    again = read_digit_canvases(plain, plain)["test"][3]
    assert again[0].equal(image)
    for split in splits.values():
        ids = {a["category_id"] for a in split.ground_truth["annotations"]}
        assert ids == set(range(1, 11))

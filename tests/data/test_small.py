"""Small data sets: splits that do not leak, and batches with indices."""

import torch

from vkd.data.images import loader
from vkd.data.small import read_small


def test_digits_split_is_stratified_and_does_not_leak():
    splits = read_small("digits")
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [718, 180, 899]
    rows = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]
    for part in parts:
        share = part.labels.bincount() / len(part)
        torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.01, rtol=0)
    assert abs(splits.train.images.mean()) < 1e-5
    assert abs(splits.train.images.std() - 1) < 1e-5


def test_batches_carry_the_indices_of_their_images():
    splits = read_small("digits", crop_padding=1)
    images, labels, indices = next(iter(loader(splits.validation, 16, shuffle=True, classes=10)))
    assert torch.equal(images, splits.validation.images[indices])
    assert torch.equal(labels, splits.validation.labels[indices])
    augmented, _, chosen = next(iter(loader(splits.train, 64, classes=10)))
    assert augmented.shape == (64, 1, 8, 8)
    assert not torch.equal(augmented, splits.train.images[chosen])

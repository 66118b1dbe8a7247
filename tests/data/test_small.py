"""Small data sets: splits that do not leak, and batches with indices."""

from importlib import util

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from vkd.data import digits, small
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


@pytest.mark.parametrize("is_there", [True, False])
def test_digits_are_scikit_learns_in_the_order_of_its_split(is_there, monkeypatch):
    if not is_there:  # as where packages are no folders
        monkeypatch.setattr(digits, "find_spec", lambda name: util.spec_from_loader(name, None))
    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(range(1797), test_size=0.5, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=0)
    *parts, classes = digits.read()
    assert classes == list("0123456789")
    for (found, found_labels), rows in zip(parts, (train, validation, test), strict=True):
        expected = torch.from_numpy(images[rows]).float().reshape(-1, 1, 8, 8) / 16
        assert torch.equal(found, expected)
        assert torch.equal(found_labels, torch.from_numpy(labels[rows]))


def test_batches_carry_the_indices_of_their_images():
    splits = read_small("digits", crop_padding=1)
    images, labels, indices = next(iter(loader(splits.validation, 16, shuffle=True, classes=10)))
    assert torch.equal(images, splits.validation.images[indices])
    assert torch.equal(labels, splits.validation.labels[indices])
    augmented, _, chosen = next(iter(loader(splits.train, 64, classes=10)))
    assert augmented.shape == (64, 1, 8, 8)
    assert not torch.equal(augmented, splits.train.images[chosen])


def test_pixels_do_not_depend_on_the_number_of_threads(monkeypatch):
    """A store filled under torchrun, with a thread for each process, is of the same pictures."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        (torch.rand(count, 1, 28, 28, generator=generator) ** 4, torch.zeros(count).long())
        for count in (3000, 2, 2)
    ]
    monkeypatch.setattr(small, "reader_of", lambda _: lambda path: (*parts, ["a"]))
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 3, 4):
        torch.set_num_threads(count)
        found.append(read_small("fashion-mnist").train.images)
    torch.set_num_threads(threads)
    assert all(torch.equal(images, found[0]) for images in found)
    expected = (parts[0][0].double() - parts[0][0].double().mean()) / parts[0][0].double().std()
    torch.testing.assert_close(found[0].double(), expected, rtol=0, atol=1e-6)

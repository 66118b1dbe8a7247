"""Splits by all their usual names, and a share of the training pictures to validate with."""

import random

import numpy as np
import pytest

from support.photographs import parts, write_folder
from support.pictures import named, opened, write_classes, write_picture
from vkd.data.shares import held_out_places
from vkd.errors import UserError


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "dev"])
@pytest.mark.parametrize("test", ["test", "TESTING"])
def test_all_usual_names_are_known(tmp_path, train, validation, test):
    for name, count in ((train, 4), (validation, 2), (test, 3)):
        write_classes(tmp_path, name, count=count)
    readers = opened(tmp_path).readers
    assert {split: len(r) for split, r in readers.items()} == {
        "train": 8, "validation": 4, "test": 6
    }  # fmt: skip


def test_two_folders_for_a_split_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        write_classes(tmp_path, name)
    with pytest.raises(UserError, match="val and valid"):
        opened(tmp_path)


def test_the_test_split_validates_nothing(tmp_path):
    write_classes(tmp_path, "train", count=20)
    write_classes(tmp_path, "test", count=3)
    found = opened(tmp_path)
    train, validation = (set(named(found.readers[s])) for s in ("train", "validation"))
    assert not train & validation
    assert len(train | validation) == 40
    assert all("/train/" in file for file in train | validation)
    assert np.bincount(found.readers["validation"].labels).tolist() == [2, 2]
    assert "4 of 40 training pictures are held out" in "; ".join(found.notes)


def test_the_share_is_the_same_whatever_was_drawn_before(tmp_path):
    write_classes(tmp_path, count=15)
    first = named(opened(tmp_path, validation_fraction=0.3).readers["validation"])
    np.random.seed(5)
    random.seed(7)
    assert named(opened(tmp_path, validation_fraction=0.3).readers["validation"]) == first


def test_a_share_is_stratified():
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    np.random.default_rng(0).shuffle(labels)
    held = held_out_places(labels, 0.2)
    assert np.bincount(labels[held], minlength=4).tolist() == [20, 2, 1, 0]
    assert not held_out_places(np.arange(5), 0.5).any()


def test_only_a_split_to_evaluate_on_is_read(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    (tmp_path / "val").rename(tmp_path / "Testing")
    train, validation, classes = parts(tmp_path)
    assert train is None
    assert (len(validation), classes) == (24, ["n00", "n01", "n02"])


def test_a_test_split_without_classes_is_left_out(tmp_path):
    write_classes(tmp_path)
    write_classes(tmp_path, "val")
    write_picture(tmp_path / "test" / "0.png")
    found = opened(tmp_path)
    assert set(found.readers) == {"train", "validation"}
    assert "left out test, whose pictures have no classes" in found.notes


def test_fewer_classes_are_found_by_name(tmp_path):
    write_classes(tmp_path, classes=("ape", "cat", "dog"))
    write_classes(tmp_path, "val", ("cat", "dog"))
    validation = opened(tmp_path).readers["validation"]
    assert validation.classes == ["ape", "cat", "dog"]
    assert validation.labels.tolist() == [1] * 4 + [2] * 4
    write_classes(tmp_path, "test", ("dog", "owl"))
    with pytest.raises(UserError, match=r"test has classes that the training part has not: owl"):
        opened(tmp_path)

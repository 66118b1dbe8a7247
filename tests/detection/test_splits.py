"""Splits under all their names, and classes by name across files."""

import json
import os

import pytest
from PIL import Image

from support.coco import write_coco
from vkd.detection.categories import Categories, default_categories
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.errors import UserError


def opened(folder, *splits, categories=None, num_classes=0, **fields):
    config = DetectionConfig(data_path=str(folder), short_side=64, long_side=128, **fields)
    return read_detection(config, categories, splits, num_classes)


def change(folder, name, edit):
    file = folder / "annotations" / f"instances_{name}.json"
    truth = json.loads(file.read_text())
    edit(truth)
    file.write_text(json.dumps(truth))


def exchange_ids(truth):
    """The same objects, with the ids of the two categories exchanged."""
    other = {3: 7, 7: 3}
    for entry in truth["categories"]:
        entry["id"] = other[entry["id"]]
    for annotation in truth["annotations"]:
        annotation["category_id"] = other[annotation["category_id"]]


@pytest.mark.parametrize("names", [("training", "dev", "testing"), ("train", "valid", "test")])
def test_the_test_split_is_evaluated_and_never_validates(tmp_path, names):
    write_coco(tmp_path, tuple(zip(names, (5, 3, 4), strict=True)))
    found = opened(tmp_path, "train", "validation", "test")
    assert [len(found[s]) for s in ("train", "validation", "test")] == [5, 3, 4]


def test_a_test_split_without_annotations_leaves_evaluation_to_validation(tmp_path, caplog):
    write_coco(tmp_path, (("train2017", 5), ("val2017", 3), ("test2017", 4)))
    change(tmp_path, "test2017", lambda truth: truth.pop("annotations"))
    assert len(opened(tmp_path, "test")["test"]) == 3
    assert "the validation split is evaluated" in caplog.text


def test_without_a_validation_split_a_share_is_held_out(tmp_path, caplog):
    write_coco(tmp_path, (("train", 10), ("test", 3)))
    found = opened(tmp_path, "train", "validation", validation_fraction=0.3)
    train, validation = (set(found[split].ids) for split in ("train", "validation"))
    assert (len(train), len(validation), train & validation) == (7, 3, set())
    assert "3 of 10 training images are held out" in caplog.text
    assert found["validation"].ids == opened(
        tmp_path, "validation", validation_fraction=0.3
    )["validation"].ids  # fmt: skip


def test_two_folders_of_one_split_are_refused(tmp_path):
    write_coco(tmp_path, (("train", 2), ("val", 2), ("valid", 2)))
    with pytest.raises(UserError, match="both mean the validation split"):
        opened(tmp_path, "validation")


def test_pictures_elsewhere_are_read_where_image_folder_says(tmp_path):
    write_coco(tmp_path / "a", (("train", 2), ("val", 2)))
    (tmp_path / "a" / "val").rename(tmp_path / "b")
    found = opened(tmp_path / "a", "validation", image_folder=str(tmp_path / "b"))
    assert found["validation"][0][1]["is_readable"]


def test_labels_are_by_name_though_ids_are_exchanged(tmp_path):
    write_coco(tmp_path, (("train2017", 5), ("val2017", 5)))
    change(tmp_path, "val2017", exchange_ids)
    found = opened(tmp_path, "train", "validation")
    assert found["train"].categories == Categories([3, 7], ["odd", "even"])
    assert found["validation"].categories == Categories([7, 3], ["odd", "even"])


def test_names_that_training_lacks_are_refused_where_they_are_used(tmp_path):
    write_coco(tmp_path, (("train2017", 5), ("val2017", 5)))
    unused = {"id": 0, "name": "digits-AbCd"}
    change(tmp_path, "val2017", lambda truth: truth["categories"].append(unused))
    opened(tmp_path, "train", "validation")
    change(tmp_path, "val2017", lambda truth: truth["categories"][0].update(name="strange"))
    with pytest.raises(UserError, match=r"has objects of strange, which the training split"):
        opened(tmp_path, "train", "validation")


def test_weights_with_cocos_classes_are_scored_by_name(tmp_path):
    write_coco(tmp_path, (("train", 3), ("val", 5)))

    def rename(truth):
        for entry, name in zip(truth["categories"], ("car", "dog"), strict=True):
            entry["name"] = name

    change(tmp_path, "val", rename)
    categories = opened(tmp_path, "test", num_classes=91)["test"].categories
    names = default_categories(91).names
    assert categories.labels == {3: names.index("car"), 7: names.index("dog")}
    change(tmp_path, "val", lambda truth: truth["categories"][0].update(name="axolotl"))
    with pytest.raises(UserError, match="axolotl, which the model does not have"):
        opened(tmp_path, "test", num_classes=91)


def test_weights_without_names_are_taken_in_order_and_that_is_said(tmp_path, caplog):
    write_coco(tmp_path, (("val", 5),))
    assert opened(tmp_path, "test", num_classes=2)["test"].categories.ids == [3, 7]
    assert "the weights name no classes; taken as, in order: odd, even" in caplog.text


@pytest.mark.parametrize(
    ("dataset", "pipe", "beside"),
    [
        ("coco", "annotations/instances_train.json", "train/a.jpg"),
        ("yolo", "labels/train/a.txt", "images/train/a.jpg"),
        ("yolo", "data.yaml", "images/train/a.jpg"),
        ("voc", "train/a.xml", "train/a.jpg"),
        ("voc", "ImageSets/Main/train.txt", "JPEGImages/a.jpg"),
    ],
)
def test_pipes_in_place_of_files_do_not_make_it_wait(tmp_path, dataset, pipe, beside):
    for name in (pipe, beside):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / beside)
    if pipe.startswith("labels"):
        (tmp_path / "classes.txt").write_text("cat\n")
    os.mkfifo(tmp_path / pipe)
    with pytest.raises(UserError, match=r"it is no file|has no train split|has no data.yaml"):
        opened(tmp_path, "train", dataset=dataset)

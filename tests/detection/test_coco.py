"""Data sets in COCO's format: read right, and refused when wrong."""

import json
import re

import pytest
import torch

from support.coco import CATEGORIES, clean_split, write_coco
from vkd.detection.categories import Categories, categories_of, default_categories
from vkd.detection.coco import CocoImages
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.detection.transforms import detection_transform
from vkd.errors import UserError


def test_categories_become_classes_and_back():
    truth = {"categories": CATEGORIES}
    assert categories_of(truth) == Categories([3, 7], ["odd", "even"])
    # Published detectors have a class for each id of COCO.
    wide = categories_of(truth, 91)
    assert (len(wide.ids), wide.ids[3], wide.names[7]) == (91, 3, "even")
    assert wide.labels == {3: 3, 7: 7}
    whole = {"categories": [{"id": i, "name": str(i)} for i in default_categories(91).labels]}
    assert len(whole["categories"]) == 80
    assert categories_of(whole).ids == default_categories(91).ids
    with pytest.raises(UserError, match="num_classes is 1"):
        categories_of(truth, 1)


def test_images_come_with_boxes_in_their_own_units(coco):
    folder, truth = clean_split(coco, "validation")
    data = CocoImages(folder, truth, categories_of(truth), detection_transform(128, 400), True)
    image, target = data[1]
    entry = truth["images"][1]
    assert min(image.shape[1:]) == 128
    assert target["original_size"].tolist() == [entry["height"], entry["width"]]
    wanted = [a for a in truth["annotations"] if a["image_id"] == entry["id"]]
    left, top, width, height = wanted[0]["bbox"]
    centre = [left + width / 2, top + height / 2]
    sides = torch.tensor([entry["width"], entry["height"]] * 2)
    expected = torch.tensor([*centre, width, height]) / sides
    torch.testing.assert_close(target["boxes"][0], expected, atol=1e-3, rtol=0)
    assert target["labels"][0] == {3: 0, 7: 1}[wanted[0]["category_id"]]
    # The mask lies where the box is.
    rows = target["masks"][0].any(1).nonzero()
    assert rows[0].item() / image.shape[1] == pytest.approx(top / entry["height"], abs=0.03)
    first, empty = data[0][1], data[len(data) - 1][1]
    crowd = [a for a in truth["annotations"] if a["image_id"] == 100 and not a["iscrowd"]]
    assert len(first["boxes"]) == len(crowd)
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape[0] == 0


def of_folder(folder):
    """A recipe of a data set, whose pictures keep their size."""
    return DetectionConfig(data_path=str(folder), short_side=0)


def broken(tmp_path, change):
    folder = tmp_path / "broken"
    write_coco(folder, (("train2017", 3), ("val2017", 3)))
    file = folder / "annotations" / "instances_val2017.json"
    truth = json.loads(file.read_text())
    text = change(truth)
    file.write_text(text if isinstance(text, str) else json.dumps(truth))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["annotations"][0].update(category_id=5), "is of category 5"),
        (lambda t: t["annotations"][0].update(image_id=1), "is of image 1"),
        (lambda t: t["annotations"][0].update(bbox=[1, 2, 3]), "expected left, top, width"),
        (lambda t: t["images"][0].update(file_name="no.jpg"), "first no.jpg"),
        (lambda t: t.pop("categories"), "no list 'categories'"),
        (lambda t: t.update(images=[]), "has no images"),
        (lambda t: "{", "not valid JSON"),
    ],
)
def test_bad_annotations_are_one_sentence(tmp_path, change, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_detection(of_folder(broken(tmp_path, change)), splits=("validation",))
    assert "instances_val2017.json" in str(error.value)


def test_boxes_without_area_are_counted_and_left_out(tmp_path, caplog):
    def change(truth):
        truth["annotations"][0]["bbox"] = [5, 5, 0, 9]
        truth["annotations"][-1]["bbox"] = [500, 5, 10, 9]

    config = of_folder(broken(tmp_path, change))
    data = read_detection(config, splits=("validation",))["validation"]
    truth = data.ground_truth
    assert "2 boxes without area" in caplog.text
    assert sum(len(data[i][1]["boxes"]) for i in range(3)) == len(truth["annotations"]) - 3


def test_a_folder_without_coco_names_what_it_needs(tmp_path):
    with pytest.raises(UserError, match=r"annotations/instances_val2017\.json"):
        read_detection(of_folder(tmp_path), splits=("validation",))


def test_the_layout_without_the_year_and_roboflows_are_read_too(tmp_path):
    write_coco(tmp_path / "a", (("train", 2), ("val", 2)))
    assert len(clean_split(tmp_path / "a", "train")[1]["images"]) == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "val").rename(tmp_path / "b" / "valid")
    source = tmp_path / "a" / "annotations" / "instances_val.json"
    source.rename(tmp_path / "b" / "valid" / "_annotations.coco.json")
    assert len(clean_split(tmp_path / "b", "validation")[1]["images"]) == 2

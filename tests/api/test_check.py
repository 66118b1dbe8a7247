"""``vkd check``."""

import json

import pytest
from PIL import Image

from support.photographs import write_folder
from vkd.api.check import check, kind_of
from vkd.errors import UserError


def test_a_folder_is_described_in_text_and_json(tmp_path, vkd):
    write_folder(tmp_path / "data", odd=1)
    (tmp_path / "data" / "train" / "n00" / "notes.txt").write_text("no picture")
    done = vkd("check", "--data-path", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "train: 24 pictures" in done.stdout
    assert "sizes: 40 x 40 to 40 x 40 (24 looked at, 0 cannot be read)" in done.stdout
    assert ".txt (1)" in done.stdout
    found = json.loads(vkd("check", "--data-path", tmp_path / "data", "--json").stdout)
    assert found["splits"]["train"]["counts"] == {"n00": 8, "n01": 8, "n02": 8}
    assert found["splits"]["validation"]["counts"] == {"n00": 9, "n01": 8, "n02": 8}
    assert list(found["splits"]) == ["train", "validation"]


def test_unreadable_pictures_are_counted_without_training(tmp_path, vkd):
    write_folder(tmp_path)
    next((tmp_path / "train").rglob("*.JPEG")).write_bytes(b"")
    done = vkd("check", "--data-path", tmp_path, "--recipe", "deit-tiny-imagenet", "--json")
    assert json.loads(done.stdout)["splits"]["train"]["sizes"]["unreadable"] == 1


def test_what_training_would_refuse_is_refused(tmp_path, vkd):
    for name in ("a", "b"):
        (tmp_path / "val").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "val" / f"{name}.png")
    done = vkd("check", "--data-path", tmp_path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["refused"] in done.stderr


def test_one_class_alone_is_refused_as_by_training(tmp_path, vkd):
    for split in ("train", "val"):
        (tmp_path / split / "images").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "images" / "a.png")
    done = vkd("check", "--data-path", tmp_path)
    assert done.returncode == 2
    assert "all of one class (images)" in done.stderr


def test_data_without_a_training_split_are_described_and_said_to_be(tmp_path, vkd):
    write_folder(tmp_path)
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    done = vkd("check", "--data-path", tmp_path)
    assert done.returncode == 0
    assert "no training split" in done.stdout


def test_the_page_shows_pictures_with_their_labels_and_escapes_names(tmp_path, vkd):
    write_folder(tmp_path / "data")
    for split in ("train", "val"):
        (tmp_path / "data" / split / "n00").rename(tmp_path / "data" / split / "<b>cat")
    page = tmp_path / "page.html"
    arguments = ("check", "--data-path", tmp_path / "data", "--output", page, "--samples", 3)
    assert vkd(*arguments).returncode == 0
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 6
    assert "&lt;b&gt;cat" in text
    assert "<b>cat" not in text
    assert vkd(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("annotations/instances_train.json", ("detection", "coco")),
        ("valid/_annotations.coco.json", ("detection", "coco")),
        ("Annotations/a.xml", ("detection", "voc")),
        ("VOCdevkit/VOC2007/Annotations/a.xml", ("detection", "voc")),
        ("train/a.xml", ("detection", "voc")),
        ("train-0.tar", ("classification", "wds")),
        ("data/a.parquet", ("classification", "hfds")),
        ("a.csv", ("classification", "table")),
        ("train/cat/a.png", ("classification", "folder")),
    ],
)
def test_the_kind_is_found_by_the_files(tmp_path, file, kind):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert kind_of(tmp_path) == kind


def test_a_yaml_of_names_is_of_yolo_and_a_recipe_is_not(tmp_path):
    (tmp_path / "recipe.yaml").write_text("task: classification")
    assert kind_of(tmp_path) == ("classification", "folder")
    (tmp_path / "pets.yaml").write_text("names: [cat, dog]\ntrain: images")
    assert kind_of(tmp_path) == ("detection", "yolo")
    assert kind_of(tmp_path / "pets.yaml") == ("detection", "yolo")
    (tmp_path / "a.csv").touch()
    assert kind_of(tmp_path / "a.csv") == ("classification", "table")
    with pytest.raises(UserError, match="look like table or yolo"):
        kind_of(tmp_path)
    with pytest.raises(UserError, match="there is no"):
        kind_of(tmp_path / "absent")


def test_a_detection_set_is_described_with_its_objects(coco, tmp_path, vkd):
    page = tmp_path / "page.html"
    done = vkd("check", "--data-path", coco, "--json", "--output", page, "--samples", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dataset"] == "coco"
    assert found["splits"]["train"]["pictures"] == 9
    assert set(found["splits"]["train"]["counts"]) == {"odd", "even"}
    assert page.read_text().count("data:image/png;base64,") == 4


def test_the_data_of_a_generator_are_described_as_it_sees_them(tmp_path):
    write_folder(tmp_path)
    page = tmp_path / "page.html"
    found = check(tmp_path, "gan-digits", page, samples=2, dataset="folder", extractor="inception",
                  extractor_recipe="", fraction=0.5)  # fmt: skip
    assert {name: split.pictures for name, split in found.splits.items()} == {
        "train": 12, "validation": 24
    }  # fmt: skip
    assert found.splits["train"].counts == {"n00": 4, "n01": 4, "n02": 4}
    assert found.splits["train"].samples[0].picture.size == (32, 32)
    assert check(dataset="digits").splits["test"].pictures == 899


def test_data_sets_that_no_task_has_are_refused_by_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match=r"found 'yoloo'; did you mean yolo\?"):
        check(tmp_path, dataset="yoloo")
    with pytest.raises(UserError, match="data_path is required without a recipe"):
        check()

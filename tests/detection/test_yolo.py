"""YOLO's format: the same pictures and boxes as in COCO's, layouts, and what is refused."""

from functools import partial

import pytest
import torch
from PIL import Image

from support.coco import write_coco
from support.formats import assert_same, by_name, opened_as, write_yolo
from vkd.errors import UserError

opened = partial(opened_as, "yolo")


@pytest.fixture
def coco_folder(tmp_path):
    return write_coco(tmp_path / "coco")


@pytest.fixture
def yolo(coco_folder, tmp_path):
    return write_yolo(coco_folder, tmp_path / "yolo")


@pytest.mark.parametrize("layout", ["images/{split}", "{split}/images"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_objects_are_those_of_the_same_data_in_cocos_format(coco_folder, tmp_path, layout, split):
    folder = write_yolo(coco_folder, tmp_path / "yolo", layout)
    expected = opened(coco_folder, split, dataset="coco")[split]
    assert_same(by_name(opened(folder, split)[split]), by_name(expected))


def test_outlines_become_boxes_and_masks(coco_folder, tmp_path):
    folder = write_yolo(coco_folder, tmp_path / "yolo", outlines=True)
    options = {"token_label_weight": 1.0}
    found = opened(folder, "train", **options)["train"]
    expected = opened(coco_folder, "train", dataset="coco", **options)["train"]
    assert_same(by_name(found), by_name(expected))


def test_boxes_lie_in_the_picture_as_viewers_turn_it(yolo):
    file = next((yolo / "images" / "train").glob("*.jpg"))
    image = Image.open(file)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    label = yolo / "labels" / "train" / f"{file.stem}.txt"
    label.write_text("0 0.5 0.25 0.5 0.5\n")
    picture, _, boxes, _ = by_name(opened(yolo, "train")["train"])[file.stem]
    assert picture == (3, image.width, image.height)
    torch.testing.assert_close(boxes, torch.tensor([[0.5, 0.25, 0.5, 0.5]]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train: images/train", "train: ../images/train"),
        ("train: images/train", "path: /somewhere/else/yolo\ntrain: images/train"),
        ("train: images/train", r"train: .\images\train"),
        ("train: images/train", "train: [images/train]"),
        ("train: images/train", "path: .\ntrain: images/train/"),
        ("train: images/train", "train: /content/pets/images/train"),
        ("names: [odd, even]", "names: {1: even, 0: odd}"),
        ("names: [odd, even]", "names:\n  0: odd\n  1: even"),
        ("nc: 2\n", "test: ../test/images\ndownload: echo hello > /tmp/never\n"),
    ],
)
def test_spellings_of_data_yaml_mean_the_same(yolo, old, new):
    expected = by_name(opened(yolo, "train")["train"])
    file = yolo / "data.yaml"
    file.write_text(file.read_text().replace(old, new))
    assert_same(by_name(opened(yolo, "train")["train"]), expected)
    assert_same(by_name(opened(file, "train")["train"]), expected)


@pytest.mark.parametrize("spelled", ["./{}", "images/train/{}", "data/images/train/{}"])
def test_lists_of_pictures_are_read(yolo, spelled):
    expected = by_name(opened(yolo, "train")["train"])
    names = sorted(path.name for path in (yolo / "images" / "train").iterdir())
    target = yolo / "images" / "train" if spelled == "./{}" else yolo
    (target / "train.txt").write_text("\n".join(map(spelled.format, names)))
    file = yolo / "data.yaml"
    entry = (target / "train.txt").relative_to(yolo)
    file.write_text(file.read_text().replace("train: images/train", f"train: {entry}"))
    assert_same(by_name(opened(yolo, "train")["train"]), expected)


def test_names_are_text_whatever_yaml_makes_of_them(yolo):
    file = yolo / "data.yaml"
    text = file.read_text()
    file.write_text(text.replace("[odd, even]", "[no, 2024-01-01]"))
    assert opened(yolo, "train")["train"].categories.names == ["no", "2024-01-01"]
    file.write_text(text.replace("[odd, even]", "!!python/object/apply:os.remove [yes, 1]"))
    assert opened(yolo, "train")["train"].categories.names == ["yes", "1"]


def test_a_folder_without_data_yaml_has_its_names_in_classes_txt(yolo):
    expected = by_name(opened(yolo, "validation")["validation"])
    (yolo / "data.yaml").unlink()
    (yolo / "classes.txt").write_text("odd\neven\n")
    assert_same(by_name(opened(yolo, "validation")["validation"]), expected)


def test_pictures_without_splits_are_for_training_and_a_share_validates(yolo, caplog):
    for kind in ("images", "labels"):
        (yolo / kind / "train").rename(yolo / "all")
        (yolo / kind).rename(yolo / f"old-{kind}")
        (yolo / "all").rename(yolo / kind)
    (yolo / "data.yaml").unlink()
    (yolo / "classes.txt").write_text("odd\neven\n")
    found = opened(yolo, "train", "validation")
    assert (len(found["train"]), len(found["validation"])) == (8, 1)
    assert "held out" in caplog.text


def test_what_is_left_out_is_counted_and_named(yolo, caplog):
    labels = sorted((yolo / "labels" / "train").glob("*.txt"))
    labels[0].write_text(labels[0].read_text() * 2)
    (yolo / "labels" / "train" / "gone.txt").write_text("0 0.5 0.5 0.1 0.1")
    labels[1].unlink()
    file = yolo / "data.yaml"
    file.write_text(file.read_text().replace("val: images/val", "val: images/train"))
    opened(yolo, "train", "validation")
    assert "1 lines of label files repeat" in caplog.text
    assert "1 label files have no picture, the first labels/train/gone.txt" in caplog.text
    assert "2 of 9 pictures have no label file and count as without objects" in caplog.text
    assert "9 pictures are in the train split, too" in caplog.text


@pytest.mark.parametrize("changed", ["TXT", "folders", "lines"])
def test_other_spellings_of_files_folders_and_lines_are_read(yolo, changed):
    expected = by_name(opened(yolo, "train")["train"])
    if changed == "folders":
        (yolo / "images").rename(yolo / "Images")
        (yolo / "labels").rename(yolo / "Labels")
        file = yolo / "data.yaml"
        file.write_text(file.read_text().replace("images/", "Images/"))
    for file in list(yolo.glob("labels/train/*.txt")):
        if changed == "TXT":
            file.rename(file.with_suffix(".TXT"))
        else:
            file.write_bytes(("\ufeff" + file.read_text().replace("\n", "\r\n")).encode())
    assert_same(by_name(opened(yolo, "train")["train"]), expected)


def test_training_without_any_label_file_is_refused_and_says_where_none_is(yolo):
    for file in (yolo / "labels" / "train").glob("*.txt"):
        file.unlink()
    with pytest.raises(UserError, match="no object to learn from: 9 of 9 pictures have no label"):
        opened(yolo, "train")


def test_keypoints_are_left_out(yolo, caplog):
    expected = by_name(opened(yolo, "train")["train"])
    for file in (yolo / "labels" / "train").glob("*.txt"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join(f"{line} 0.5 0.5 2 0.4 0.4 1" for line in lines))
    file = yolo / "data.yaml"
    file.write_text(file.read_text() + "kpt_shape: [2, 3]\n")
    assert_same(by_name(opened(yolo, "train")["train"]), expected)
    assert "keypoints are left out" in caplog.text


def test_an_unreadable_picture_is_skipped(yolo, caplog):
    next((yolo / "images" / "train").glob("*.jpg")).write_bytes(b"no picture")
    images = opened(yolo, "train")["train"]
    assert all(images[place][1]["is_readable"] for place in range(len(images)))
    assert "skipped (1)" in caplog.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 12 20 30 40", "expected fractions of the picture"),
        ("0 0.5 0.5 0.1", "expected a class, then centre"),
        ("0 0.5 0.5 0.1 0.1 0.9", "expected a class, then centre"),
        ("7 0.5 0.5 0.1 0.1", "class 7, where data.yaml names 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("cat 0.5 0.5 0.1 0.1", "expected numbers"),
        ("0 nan 0.5 0.1 0.1", "expected fractions"),
        ("0,0.5,0.5,0.1,0.1", "expected numbers"),
        ("0 -0.2 0.5 0.1 0.1", "expected fractions"),
    ],
)
def test_lines_that_are_none_are_refused_with_their_file_and_number(yolo, line, reason):
    file = sorted((yolo / "labels" / "train").glob("*.txt"))[0]
    file.write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    with pytest.raises(UserError, match="1 lines of label files are none") as caught:
        opened(yolo, "train")
    assert f"{file.name}, line 3: " in str(caught.value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) <= 300 + len(str(yolo))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train: images/train\n", "names is None; expected the names"),
        ("train: images/train\nnames: [a, b]\nnc: 3\n", "names 2 classes, and nc is 3"),
        ("train: images/train\nnames: [a, b]\nnc: two\n", "nc is 'two'; expected a number"),
        ("train: images/train\nnames: [a, b]\nnc: [2]\n", "nc is .*; expected a number"),
        (f"train: images/train\nnc: {'9' * 5000}\n", r"nc is '9+\.\.\.9+'; expected a number"),
        ("train: images/train\nnames: {0: a, 0: b}\n", "0 stands twice"),
        (f"train: images/train\nnames: {{{'9' * 1000}: a}}\n", "expected a number and a name"),
        ("train: images/train\nnames: {a: 0}\n", "expected a number and a name"),
        ("train: images/train\nnames: odd\n", "expected the names of the classes"),
        ("names: [a, b]\n", "names no split"),
        ("train: images/nowhere\nnames: [a, b]\n", "which is not in"),
        ("train: {a: b}\nnames: [a, b]\n", "expected paths"),
        ("val: a\nvalid: b\nnames: [a, b]\n", "both mean the validation split"),
        ("train: labels\nnames: [a, b]\n", "which has no pictures"),
        ("train: [a\n", "is not valid YAML"),
        ("- a\n", "has no names"),
        ("train: images/train\nnames: [a, b]\nkpt_shape: 17\n", "kpt_shape"),
        ("train: images/train\nnames: [a, b]\nkpt_shape: [many, 3]\n", "kpt_shape"),
    ],
)
def test_a_data_yaml_that_cannot_be_meant_is_refused(yolo, text, reason):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        opened(yolo, "train")
    assert "data.yaml" in str(caught.value)


def test_pictures_outside_of_the_data_are_read_when_asked_for(yolo, tmp_path):
    (tmp_path / "other").mkdir()
    file = (yolo / "data.yaml").rename(tmp_path / "other" / "data.yaml")
    file.write_text(f"path: {yolo}\n{file.read_text()}")
    with pytest.raises(UserError, match=r"set image_folder \(--image-folder\)"):
        opened(file, "train")
    assert len(opened(file, "train", image_folder=str(yolo))["train"]) == 9


def test_two_pictures_of_one_label_file_are_refused(yolo):
    file = next((yolo / "images" / "train").glob("*.jpg"))
    (yolo / "labels" / "train" / f"{file.stem}.txt").touch()
    Image.new("RGB", (8, 8)).save(file.with_suffix(".png"))
    with pytest.raises(UserError, match="would be the labels of"):
        opened(yolo, "train")


def test_another_format_is_named(coco_folder, yolo):
    with pytest.raises(UserError, match=r"set dataset \(--dataset\) to coco"):
        opened(coco_folder, "train")
    with pytest.raises(UserError, match=r"set dataset \(--dataset\) to yolo"):
        opened(yolo, "train", dataset="coco")

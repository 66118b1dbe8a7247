"""Pascal VOC's format: the same pictures and boxes as in COCO's, layouts, and what is refused."""

from functools import partial

import pytest
from torchvision.datasets import VOCDetection

from support.coco import write_coco
from support.formats import assert_same, by_name, opened_as, write_voc
from vkd.errors import UserError

opened = partial(opened_as, "voc")


@pytest.fixture
def coco_folder(tmp_path):
    return write_coco(tmp_path / "coco")


@pytest.fixture
def voc(coco_folder, tmp_path):
    return write_voc(coco_folder, tmp_path / "voc")


@pytest.mark.parametrize("layout", ["devkit", "beside"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_objects_are_those_of_the_same_data_in_cocos_format(coco_folder, tmp_path, layout, split):
    folder = write_voc(coco_folder, tmp_path / "voc", layout)
    expected = opened(coco_folder, split, dataset="coco")[split]
    assert_same(by_name(opened(folder, split)[split]), by_name(expected))


def test_corners_counted_from_0_are_told_by_those_below_1(coco_folder, tmp_path, caplog):
    folder = write_voc(coco_folder, tmp_path / "voc", first=0)
    file = sorted((folder / "Annotations").glob("train_*.xml"))[0]
    text = file.read_text()
    start, end = text.index("<xmin>"), text.index("</xmin>")
    file.write_text(text[:start] + "<xmin>0" + text[end:])
    images = opened(folder, "validation")["validation"]
    expected = opened(coco_folder, "validation", dataset="coco")["validation"]
    assert_same(by_name(images), by_name(expected))
    assert "taken as counted from 0, not from 1 as in VOC, since object 1 of train_" in caplog.text


def test_objects_are_those_that_torchvision_reads(voc, tmp_path):
    (tmp_path / "VOCdevkit").mkdir()
    folder = voc.rename(tmp_path / "VOCdevkit" / "VOC2012")
    peer = VOCDetection(tmp_path, year="2012", image_set="train")
    found = opened(tmp_path, "train")["train"]
    objects = {
        annotation["filename"].removesuffix(".jpg").split("_")[-1]: [
            o["name"] for o in annotation.get("object", [])
        ]
        for _, tree in peer
        for annotation in [tree["annotation"]]
    }
    assert {name: names for name, (_, names, *_) in by_name(found).items()} == objects
    assert folder in found.sources()[0][1].parents


def test_a_trainval_list_is_for_training_and_a_share_validates(voc, caplog):
    lists = voc / "ImageSets" / "Main"
    both = (lists / "train.txt").read_text() + (lists / "val.txt").read_text()
    (lists / "train.txt").unlink()
    (lists / "val.txt").unlink()
    (lists / "trainval.txt").write_text(both)
    found = opened(voc, "train", "validation")
    assert (len(found["train"]), len(found["validation"])) == (14, 2)
    assert "held out" in caplog.text


def test_splits_may_be_folders_below_images_and_annotations(coco_folder, tmp_path):
    folder = write_voc(coco_folder, tmp_path / "voc", "beside")
    for split in ("train", "val"):
        (folder / "annotations" / split).mkdir(parents=True)
        for file in (folder / split).glob("*.xml"):
            file.rename(folder / "annotations" / split / file.name)
        (folder / "images").mkdir(exist_ok=True)
        (folder / split).rename(folder / "images" / split)
    expected = opened(coco_folder, "train", dataset="coco")["train"]
    assert_same(by_name(opened(folder, "train")["train"]), by_name(expected))


def test_pictures_elsewhere_are_read_where_image_folder_says(voc, tmp_path):
    (voc / "JPEGImages").rename(tmp_path / "pictures")
    with pytest.raises(UserError, match=r"set image_folder \(--image-folder\)"):
        opened(voc, "train")
    images = opened(voc, "train", image_folder=str(tmp_path / "pictures"))["train"]
    assert images[0][1]["is_readable"]


def test_lists_may_name_pictures_with_their_suffix(voc):
    expected = by_name(opened(voc, "train")["train"])
    lists = voc / "ImageSets" / "Main" / "train.txt"
    lists.write_text(lists.read_text().replace("\n", ".jpg\n"))
    assert_same(by_name(opened(voc, "train")["train"]), expected)


def test_difficult_objects_are_neither_learned_from_nor_scored(voc, caplog):
    file = sorted((voc / "Annotations").glob("train_*.xml"))[1]
    before = by_name(opened(voc, "train")["train"])[file.stem.split("_")[-1]][1]
    text = file.read_text()
    file.write_text(text.replace("<difficult>0<", "<difficult>1<", 1))
    images = opened(voc, "train")["train"]
    assert by_name(images)[file.stem.split("_")[-1]][1] == before[1:]
    assert sum(a["iscrowd"] for a in images.ground_truth["annotations"]) == 1
    assert "1 difficult objects are neither learned from nor scored" in caplog.text


def test_a_file_belongs_to_the_picture_of_its_own_name(voc, caplog):
    first, second = sorted((voc / "Annotations").glob("train_*.xml"))[:2]
    expected = by_name(opened(voc, "train")["train"])
    first.write_text(first.read_text().replace(first.stem, second.stem))
    assert_same(by_name(opened(voc, "train")["train"]), expected)
    assert "1 XML files name another picture" in caplog.text


def test_a_picture_is_found_by_the_name_within_where_the_files_differ(voc):
    expected = by_name(opened(voc, "train")["train"])
    lists = voc / "ImageSets" / "Main" / "train.txt"
    lines = lists.read_text().split()
    for number, stem in enumerate(lines):
        (voc / "Annotations" / f"{stem}.xml").rename(voc / "Annotations" / f"label{number}.xml")
    lists.write_text("\n".join(f"label{number}  1" for number in range(len(lines))))
    assert_same(by_name(opened(voc, "train")["train"]), expected)


def test_pictures_without_a_file_are_left_out_and_counted(coco_folder, tmp_path, caplog):
    folder = write_voc(coco_folder, tmp_path / "voc", "beside")
    next((folder / "train").glob("*.xml")).unlink()
    assert len(opened(folder, "train")["train"]) == 8
    assert "1 pictures have no XML file and are left out" in caplog.text


def test_sizes_of_0_are_read_from_the_pictures(voc, caplog):
    for file in (voc / "Annotations").glob("*.xml"):
        text = file.read_text()
        start, end = text.index("<width>"), text.index("</width>")
        file.write_text(text[:start] + "<width>0" + text[end:])
    opened(voc, "train")
    assert "9 images have no width or height" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<name>", "<nome>", "is not valid XML"),
        ("<object><name>odd</name>", "<object>", r"object \d has no <name>"),
        ("<xmin>", "<xmin>x", r"object \d .* has the xmin 'x"),
        ("<xmin>", "<xmin>nan</xmin><xmin>", r"has the xmin 'nan'"),
        ("bndbox>", "robndbox>", "expected <bndbox>"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "cccc">]><annotation>', "defines entities"),
        (
            "<annotation>",
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>',
            "defines entities",
        ),
        ("annotation>", "dataset>", "has dataset where <annotation> is expected"),
        ("<width>", "<width>wide", "width"),
    ],
)
def test_files_that_are_none_are_refused_by_name(voc, old, new, reason):
    every = sorted((voc / "Annotations").glob("train_*.xml"))
    file = next(f for f in every if "<name>odd" in f.read_text())
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=reason) as caught:
        opened(voc, "train")
    assert len(str(caught.value)) <= 300 + len(str(voc))


def test_layouts_that_could_mean_two_things_are_refused(coco_folder, tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(coco_folder, tmp_path / "VOCdevkit" / year)
    with pytest.raises(UserError, match="holds VOCdevkit/VOC2007 and VOCdevkit/VOC2012"):
        opened(tmp_path, "train")
    assert len(opened(tmp_path / "VOCdevkit" / "VOC2007", "train")["train"]) == 9


def test_pictures_that_lists_name_without_a_file_are_counted(voc):
    next((voc / "Annotations").glob("train_*.xml")).unlink()
    with pytest.raises(UserError, match="lists 1 of 9 pictures without an XML file"):
        opened(voc, "train")


def test_masks_are_refused(voc):
    with pytest.raises(UserError, match="token_label_weight must be 0 without masks"):
        opened(voc, "train", token_label_weight=1.0)

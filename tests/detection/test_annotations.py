"""The pass over annotations: what is mended, and what is refused by a sentence."""

import json
import re
from copy import deepcopy

import pytest
from PIL import Image

from vkd.detection.annotations import clean_annotations
from vkd.detection.metrics import average_precision
from vkd.errors import UserError

SIDES = (100, 80)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        Image.new("RGB", SIDES).save(tmp_path / f"{i}.png")
    return tmp_path


def content():
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i}.png", "width": SIDES[0], "height": SIDES[1]}
            for i in range(3)
        ],
        "annotations": [
            {
                "id": i + 1, "image_id": i + 1, "category_id": 1 + i % 2, "iscrowd": 0,
                "bbox": [10 + i, 20, 40, 50], "area": 2000,
            }
            for i in range(3)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }  # fmt: skip


def clean(folder, change=lambda truth: None, **options):
    truth = content()
    replaced = change(truth)
    return clean_annotations(truth if replaced is None else replaced, "a.json", folder, **options)


def test_clean_content_stays_as_it_is_without_a_word(folder):
    cleaned = clean(folder)
    assert cleaned.truth == content()
    assert cleaned.notes == []


def every(kind, **values):
    def change(truth):
        for entry in truth[kind]:
            for key, value in values.items():
                entry[key] = value(entry) if callable(value) else value

    return change


def without(kind, *keys):
    def change(truth):
        for entry in truth[kind]:
            for key in keys:
                del entry[key]

    return change


def words(truth):
    for entry in truth["images"]:
        entry["id"] = f"pic{entry['id']}"
    for entry in truth["annotations"]:
        entry["image_id"] = f"pic{entry['image_id']}"


MENDED = {
    "quoted ids": (every("annotations", image_id=lambda a: str(a["image_id"])), ""),
    "ids with a point": (every("categories", id=lambda c: float(c["id"])), ""),
    "ids that are words": (words, ""),
    "repeated annotation ids": (every("annotations", id=7), "2 annotation ids repeat"),
    "absent annotation ids": (without("annotations", "id"), "3 annotation ids repeat"),
    "annotation id 0": (every("annotations", id=lambda a: a["id"] - 1), ""),
    "swapped sizes": (every("images", width=80, height=100), "3 of 3 pictures.*3 with width"),
    "other sizes": (every("images", width=200, height=160), r"3 of 3 pictures.*\(0 with"),
    "no sizes": (without("images", "width", "height"), "3 images have no width"),
    "quoted sizes": (every("images", width="100"), ""),
    "no area": (without("annotations", "area"), "3 areas are absent"),
    "area null": (every("annotations", area=None), "3 areas are absent"),
    "no iscrowd": (without("annotations", "iscrowd"), ""),
    "backslashes": (every("images", file_name=lambda e: f".\\{e['file_name']}"), ""),
    "dots": (every("images", file_name=lambda e: f"./x/../{e['file_name']}"), ""),
    "elsewhere": (every("images", file_name=lambda e: f"/no/x/{e['file_name']}"), "3 paths are"),
    "windows": (every("images", file_name=lambda e: f"C:\\x\\{e['file_name']}"), "3 paths are"),
    "address": (every("images", file_name=lambda e: f"https://h/{e['file_name']}?a=1"), "3 paths"),
    "case": (every("images", file_name=lambda e: e["file_name"].upper()), "3 paths are"),
    "equal images": (lambda t: t["images"].append(dict(t["images"][0])), "1 repeated image"),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_has_one_meaning_is_mended_and_said(folder, name):
    change, note = MENDED[name]
    cleaned = clean(folder, change)
    text = "; ".join(cleaned.notes)
    assert re.search(note, text) if note else not text
    # The judge is the evaluation of COCO itself, with the boxes as the file has them.
    truth = cleaned.truth
    files = {entry["id"]: entry["file_name"] for entry in truth["images"]}
    boxes = {files[a["image_id"]]: a["bbox"] for a in truth["annotations"]}
    assert boxes == {f"{i}.png": [10 + i, 20, 40, 50] for i in range(3)}
    assert {(e["width"], e["height"]) for e in truth["images"]} == {SIDES}
    assert {a["area"] for a in truth["annotations"]} == {2000}
    records = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    metrics = average_precision(deepcopy(truth), records)
    assert (metrics["AP"], metrics["APmedium"], metrics["APsmall"]) == (100, 100, -1)


def test_records_of_a_file_with_words_as_ids_fit_that_file(folder):
    cleaned = clean(folder, words)
    records = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in cleaned.truth["annotations"]
    ]
    restored = cleaned.original.restored(records)
    assert [record["image_id"] for record in restored] == ["pic1", "pic2", "pic3"]


def test_an_absent_area_is_that_of_the_polygon(folder):
    triangle = [[10, 20, 50, 20, 10, 70]]

    def change(truth):
        without("annotations", "area")(truth)
        every("annotations", segmentation=triangle)(truth)

    assert {a["area"] for a in clean(folder, change).truth["annotations"]} == {1000.0}


def one(kind, **values):
    return lambda truth: truth[kind][1].update(values)


REFUSED = [
    (lambda t: [], "no list 'images'"),
    (lambda t: t.update(annotations={}), "no list 'annotations'"),
    (lambda t: t["images"].append(3), "entry 3 of images is 3"),
    (lambda t: t["categories"].append("cat"), "entry 2 of categories is 'cat'"),
    (lambda t: t["images"][1].pop("file_name") and None, "image 2 has the file_name None"),
    (lambda t: t["images"][1].pop("id") and None, "image number 1 has the id None"),
    (lambda t: t["categories"][1].pop("name") and None, "category 2 has the name None"),
    (lambda t: t["annotations"][1].pop("image_id") and None, "annotation 2 has no image_id"),
    (lambda t: t["annotations"][1].pop("category_id") and None, "annotation 2 has no category_id"),
    (one("images", file_name=["a"]), "image 2 has the file_name"),
    (one("images", file_name="."), "not in"),
    (one("images", file_name="../../../etc/hostname"), "image_folder"),
    (one("images", height="tall"), "has the height 'tall'"),
    (one("images", width=float("nan")), "has the width nan"),
    (one("images", id=1), "1 ids of image entries are used again"),
    (one("images", id=True), "image number 1 has the id True"),
    (one("categories", id=1), "1 ids of category entries are used again"),
    (one("annotations", category_id=9), "annotation 2 is of category 9"),
    (one("annotations", image_id=[1]), "annotation 2 is of image"),
    (one("annotations", iscrowd="maybe"), "annotation 2 has the iscrowd 'maybe'"),
    (every("annotations", bbox=[0.1, 0.2, 0.4, 0.5]), "fractions of the picture"),
    (every("annotations", bbox=[50, 40, 90, 75]), "look like corners"),
] + [
    (one("annotations", bbox=box), "annotation 2 has the box")
    for box in (
        None, "box", ["1", "2", "3", "4"], [1, 2, 3, 4, 5], {"x": 1}, [1, 2, 3, float("inf")],
        [1, 2, 3, float("nan")], [1, 2, 3, True], [1, 2, 3, 10**400], [[1], 2, 3, 4],
    )
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_has_no_single_meaning_is_one_sentence_that_names_the_entry(folder, place):
    change, message = REFUSED[place]
    with pytest.raises(UserError) as error:
        clean(folder, change)
    text = str(error.value).replace(str(folder), "D")
    assert message in text
    assert text.startswith("a.json")
    assert len(text) <= 300


def test_a_split_of_crowds_is_refused_for_training_and_said_otherwise(folder):
    crowds = every("annotations", iscrowd=1)
    with pytest.raises(UserError, match="no object to learn from: every annotation is a crowd"):
        clean(folder, crowds, is_training=True)
    assert "no object to evaluate with" in clean(folder, crowds).notes[-1]
    with pytest.raises(UserError, match="no annotation"):
        clean(folder, lambda t: t["annotations"].clear(), is_training=True)


def test_boxes_beyond_their_picture_are_counted(folder):
    notes = clean(folder, one("annotations", bbox=[90, 20, 40, 50])).notes
    assert notes == ["1 of 3 boxes reach beyond their picture, first annotation 2"]


def test_two_pictures_never_become_one(folder):
    def change(truth):
        truth["images"][0]["file_name"] = "/left/0.png"
        truth["images"][1]["file_name"] = "/right/0.png"

    with pytest.raises(UserError, match=r"would both be 0\.png"):
        clean(folder, change)


def test_segmentations_never_matter_where_masks_do_not(folder):
    for garbage in ("x", [["a"]], {"counts": "~", "size": [10**9, 10**9]}, [[1, 2]], 3):
        cleaned = clean(folder, every("annotations", segmentation=garbage, area=None))
        assert cleaned.truth["annotations"][0] == content()["annotations"][0]


def test_values_are_of_json(folder):
    json.dumps(clean(folder, words).truth)

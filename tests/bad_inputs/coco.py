"""Annotations in COCO's format; those of masks too."""

import json

from bad_inputs.made import as_folder, every, in_place_of, link, nested, picture, pipe, text
from bad_inputs.table import Case

FILE = "data/train/_annotations.coco.json"
TRUTH = {
    "images": [
        {"id": n, "file_name": f"{n}.png", "width": 12, "height": 8} for n in (1, 2, 3, 4)
    ],
    "annotations": [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 2, 5, 4], "area": 20, "iscrowd": 0,
         "segmentation": [[2, 2, 7, 2, 7, 6, 2, 6]]}
        for n in (1, 2, 3, 4)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}  # fmt: skip
REMOVED = object()
_FOLDER = as_folder("data/train/sub")


def pictures(folder):
    for number in (1, 2, 3, 4):
        for split in ("train", "valid"):
            picture(folder / "data" / split / f"{number}.png", (12, 8))
    text("data/valid/_annotations.coco.json", json.dumps(TRUTH))(folder)


def content(changes, kind="annotations"):
    """The annotations with other values of the first entry of a kind."""
    first, *others = TRUTH[kind]
    entry = {name: value for name, value in (first | changes).items() if value is not REMOVED}
    return json.dumps(TRUTH | {kind: [entry, *others]})


def case(
    name, annotations, *words, code=2, more=(), command="check --dataset coco --data-path data"
):
    make = every(pictures, text(FILE, annotations), *more)
    return Case(name, command, words, code, make)


def image(name, changes, *words, **more):
    return case(f"image {name}", content(changes, "images"), *words, **more)


def box(name, value, *words, code=2):
    words = words or ("annotation 1", "box", "expected left, top, width, height")
    return case(f"box {name}", content({"bbox": value}), *words, code=code)


def mask(name, value, *words):
    command = "train digits-detection --dataset coco --data-path data --output run --device cpu "
    command += "--token-label-weight 2 --batch-size 2 --method none --feature-weight 0"
    words = words or ("1 of 4 annotations have no mask", "annotation 1")
    return case(f"segmentation {name}", content({"segmentation": value}), *words, command=command)


_MANY_DIGITS = content({"id": 7}).replace("7", "7" + "0" * 5000)

CASES = [
    case("JSON empty", "", "not valid JSON"),
    case("JSON cut", json.dumps(TRUTH)[:-20], "not valid JSON"),
    case("JSON binary", b"\x80\x81\xff", "UTF-8"),
    case("JSON in UTF-16", json.dumps(TRUTH).encode("utf-16"), "UTF-8"),
    case("JSON deep", nested(100_000), "nested"),
    case("a deep value", json.dumps(TRUTH)[:-1] + ', "x": ' + "[" * 50_000 + "}", "nested"),
    case("a number of 5000 digits", _MANY_DIGITS, "JSON"),
    case("a list", "[]", "COCO's format"),
    case("a word", '"coco"', "COCO's format"),
    case("no images", json.dumps(TRUTH | {"images": []}), "has no images"),
    case("images a word", json.dumps(TRUTH | {"images": "x"}), "no list 'images'"),
    case("annotations null", json.dumps(TRUTH | {"annotations": None}), "no list 'annotations'"),
    case("no categories", json.dumps(TRUTH | {"categories": []}), "has no categories"),
    case("an image a number", json.dumps(TRUTH | {"images": [5]}), "entry 0 of images is 5"),
    case("a category a word", json.dumps(TRUTH | {"categories": ["cat"]}), "entry 0 of categories"),
    case("an annotation null", json.dumps(TRUTH | {"annotations": [None]}),
         "entry 0 of annotations"),
    image("without file_name", {"file_name": REMOVED}, "image 1", "file_name"),
    image("file_name a list", {"file_name": ["a"]}, "image 1", "file_name", "expected text"),
    image("file_name a folder", {"file_name": "sub"}, "1 of 4 images", "sub", more=[_FOLDER]),
    image("file_name outside", {"file_name": "/etc/passwd"}, "outside", "/etc/passwd"),
    image("file_name above", {"file_name": "../../../../etc/passwd"}, "etc/passwd"),
    image("file_name of 5000 letters", {"file_name": "a" * 5000}, "1 of 4 images"),
    image("file_name with a zero byte", {"file_name": "a\0b"}, "file_name"),
    image("height a word", {"height": "eight"}, "height", "'eight'", "expected pixels"),
    image("height null is read from the picture", {"height": None}, "1 images have no width",
         code=0),
    image("height negative", {"height": -8}, "height", "-8"),
    image("height 10^400", {"height": 10**400}, "height"),
    image("id a word is numbered", {"id": "one"}, "which is none"),
    image("id a list", {"id": [1]}, "id [1]", "expected a number or a name"),
    image("id NaN", {"id": float("nan")}, "id nan"),
    image("id 10^30", {"id": 10**30}, "image 1, which is none"),
    image("id of another", {"id": 2}, "used again", "2"),
    box("null", None),
    box("absent", REMOVED),
    box("a number", 5),
    box("a word", "0 0 1 1"),
    box("a map", {"x": 1}),
    box("of nulls", [None] * 4),
    box("of words", ["0", "0", "1", "1"]),
    box("of five", [0, 0, 1, 1, 1]),
    box("of truth values", [True] * 4),
    box("not finite", [0, 0, float("inf"), 1]),
    box("NaN", [float("nan"), 0, 1, 1]),
    box("of 10^400", [10**400, 0, 1, 1]),
    box("without area is counted", [2, 2, 0, 4], "1 boxes without area", code=0),
    box("outside is counted", [50, 50, 4, 4], "1 boxes", code=0),
    case("category_id a list", content({"category_id": [1]}), "annotation 1", "category [1]"),
    case("category_id unknown", content({"category_id": 77}), "annotation 1", "category 77"),
    case("category without name", content({"name": REMOVED}, "categories"), "category 1", "name"),
    case("category name a list", content({"name": []}, "categories"), "category 1", "name []"),
    case("annotation without id is numbered", content({"id": REMOVED}), "1 annotation ids", code=0),
    case("annotation of no image", content({"image_id": 9}), "annotation 1", "image 9"),
    case("iscrowd a list", content({"iscrowd": []}), "annotation 1", "iscrowd"),
    case("area a word is measured", content({"area": "big"}), "1 areas", code=0),
    case("fractions", json.dumps(TRUTH | {"annotations": [
        one | {"bbox": [0.1, 0.1, 0.5, 0.5]} for one in TRUTH["annotations"]]}), "fractions"),
    Case("a picture a pipe",
         "check --dataset coco --data-path data --output page.html --max-corrupt 0",
         ("1.png", "no file", "--max-corrupt"), 1, every(
             pictures, text(FILE, json.dumps(TRUTH)),
             in_place_of("data/train/1.png", pipe("data/train/1.png")))),
    Case("annotations a pipe", "check --dataset coco --data-path data", ("data",), make=pipe(FILE)),
    Case("annotations a device", "check --dataset coco --data-path data", ("data",),
         make=link(FILE, "/dev/zero")),
    mask("absent", REMOVED),
    mask("a word", "mask"),
    mask("null", None),
    mask("empty", []),
    mask("short", [[1, 2, 3]]),
    mask("odd", [[2, 2, 7, 2, 7, 6, 2]]),
    mask("of nulls", [[None] * 8]),
    mask("of NaN", [[float("nan")] * 8]),
    mask("far away", [[0, 0, 9e8, 0, 9e8, 9e8]]),
    mask("of a million strokes", [[0, 0] + [0, 3000, 3000, 0] * 2000]),
    mask("run lengths of garbage", {"size": [8, 12], "counts": "\x7f\x7f garbage"}),
    mask("run lengths of another size", {"size": [800, 1200], "counts": [960000]}),
    mask("run lengths of 10^30", {"size": [8, 12], "counts": [10**30]}),
    mask("run lengths negative", {"size": [8, 12], "counts": [-4, 100]}),
    mask("run lengths without counts", {"size": [8, 12]}),
]  # fmt: skip

"""The data of a folder in COCO's format, written in YOLO's and Pascal VOC's."""

import json
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import torch

from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection

NAMES = ["odd", "even"]


def _splits(coco):
    for file in sorted((coco / "annotations").glob("*.json")):
        name = file.stem.removeprefix("instances_")
        yield name, name.rstrip("0123456789"), json.loads(file.read_text())


def _objects(truth, image):
    """The label, box and outline of each object of an image, crowds left out."""
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    for annotation in truth["annotations"]:
        if annotation["image_id"] == image["id"] and not annotation["iscrowd"]:
            name = names[annotation["category_id"]]
            yield NAMES.index(name), annotation["bbox"], annotation["segmentation"][0]


def write_yolo(coco: Path, target: Path, layout="images/{split}", outlines=False, digits=6):
    """Write data.yaml, pictures and labels; ``layout`` is the folder of a split's pictures."""
    for name, split, truth in _splits(coco):
        pictures = target / layout.format(split=split)
        labels = target / layout.format(split=split).replace("images", "labels")
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True, exist_ok=True)
        for image in truth["images"]:
            shutil.copy(coco / name / image["file_name"], pictures)
            lines = []
            width, height = image["width"], image["height"]
            for label, (left, top, w, h), outline in _objects(truth, image):
                values = [(left + w / 2) / width, (top + h / 2) / height, w / width, h / height]
                if outlines:
                    values = [v / (height if i % 2 else width) for i, v in enumerate(outline)]
                lines.append(" ".join([str(label), *(f"{v:.{digits}f}" for v in values)]))
            if lines:
                stem = image["file_name"].removesuffix(".jpg")
                (labels / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    entries = "\n".join(f"{s}: {layout.format(split=s)}" for s in ("train", "val"))
    (target / "data.yaml").write_text(f"{entries}\nnc: 2\nnames: [{', '.join(NAMES)}]\n")
    return target


def write_voc(coco: Path, target: Path, layout="devkit", first=1):
    """Write XML files: in VOC's own layout (devkit), or beside the pictures of a split (beside)."""
    for name, split, truth in _splits(coco):
        folders = {"devkit": ("JPEGImages", "Annotations"), "beside": (split, split)}[layout]
        pictures, files = (target / folder for folder in folders)
        pictures.mkdir(parents=True, exist_ok=True)
        files.mkdir(parents=True, exist_ok=True)
        stems = []
        for image in truth["images"]:
            # The names of splits differ, as they share a folder.
            stem = f"{split}_{image['file_name'].removesuffix('.jpg')}"
            stems.append(stem)
            shutil.copy(coco / name / image["file_name"], pictures / f"{stem}.jpg")
            nodes = [
                f"<object><name>{escape(NAMES[label])}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{x + first}</xmin><ymin>{y + first}</ymin><xmax>{x + w}</xmax>"
                f"<ymax>{y + h}</ymax></bndbox></object>"
                for label, (x, y, w, h), _ in _objects(truth, image)
            ]
            (files / f"{stem}.xml").write_text(
                f"<annotation><filename>{stem}.jpg</filename><size><width>{image['width']}</width>"
                f"<height>{image['height']}</height><depth>3</depth></size>{''.join(nodes)}"
                "</annotation>"
            )
        if layout == "devkit":
            lists = target / "ImageSets" / "Main"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return target


def opened_as(kind, path, *splits, **fields):
    """The splits of a folder in a format, with pictures of their own size."""
    fields = {"dataset": kind, "short_side": 0} | fields
    config = DetectionConfig(data_path=str(path), augmentation="none", **fields)
    return read_detection(config, splits=splits)


def by_name(images):
    """The size, labels by name, boxes and masks of each picture, by the end of its name."""
    found = {}
    for index, (_, file) in enumerate(images.sources()):
        picture, target = images[index]
        names = [images.categories.names[label] for label in target["labels"]]
        key = file.stem.split("_")[-1]
        found[key] = (tuple(picture.shape), names, target["boxes"], target.get("masks"))
    return found


def assert_same(found, expected):
    """Compare what ``by_name`` returns."""
    assert found.keys() == expected.keys()
    for name, (size, names, boxes, masks) in expected.items():
        assert found[name][:2] == (size, names)
        torch.testing.assert_close(found[name][2], boxes, atol=2e-6, rtol=0)
        torch.testing.assert_close(found[name][3], masks)

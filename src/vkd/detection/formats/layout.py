"""Which format the names of a folder's files look like."""

from pathlib import Path

from vkd.data.layout import holds
from vkd.detection.formats.yolo_file import data_files

_COCO = ("annotations/*.json", "*/_annotations.coco.json")
_VOC = (
    "Annotations/*.xml", "annotations/*.xml", "*/Annotations/*.xml", "*/*/Annotations/*.xml",
    "annotations/*/*.xml", "Annotations/*/*.xml", "*/labels/*.xml", "*/*.xml", "*.xml",
)  # fmt: skip
_YOLO = ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt")
_NAMES = ("classes.txt", "obj.names", "labels/classes.txt")


def format_of(path: Path) -> str | None:
    """Return the ``dataset`` that a folder or file looks like: coco, yolo or voc; None for none."""
    if not path.is_dir():
        return "yolo" if path.is_file() and path.suffix.lower() in (".yaml", ".yml") else None
    if holds(path, *_COCO):
        return "coco"
    has_labels = holds(path, *_YOLO) and holds(path, *_NAMES)
    if data_files(path) or has_labels or holds(path, "obj.data"):
        return "yolo"
    return "voc" if holds(path, *_VOC) else None


def hint(path: Path, dataset: str) -> str:
    """Return the end of a sentence about data that ``dataset`` is not the format of."""
    found = format_of(path)
    if found is None or found == dataset:
        return ""
    return f"; it looks like another format: set dataset (--dataset) to {found}"

"""One pass over raw annotations in COCO's format: mended where they have one meaning, or refused.

Every message names the file and the entry; what was mended is counted in notes.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vkd.detection.boxes import check_boxes
from vkd.detection.described import entry_name, shown
from vkd.detection.identifiers import Key, OriginalIds, key_of, numbered
from vkd.detection.picture_paths import PicturePaths
from vkd.detection.picture_sizes import measure
from vkd.detection.segmentations import check_segmentations
from vkd.errors import UserError

# True and 1.0 are 1 as keys.
_CROWD = {0: 0, 1: 1, None: 0, "": 0, "0": 0, "1": 1}


@dataclass
class Cleaned:
    """Ground truth that everything below can rely on.

    Attributes:
        truth: images, annotations and categories with whole numbers as ids.
        original: the ids of the file, where they differ.
        notes: what was mended or left out.
    """

    truth: dict[str, Any]
    original: OriginalIds
    notes: list[str] = field(default_factory=list)


def clean_annotations(
    raw: Any,
    source: object,
    folder: Path,
    inside: Path | None = None,
    is_training: bool = False,
    with_masks: bool = False,
) -> Cleaned:
    """Return clean ground truth of raw content in COCO's format, whose entries are changed.

    Args:
        raw: the content of a file, of any type.
        source: the file, for messages.
        folder: of the pictures.
        inside: the folder that no picture may lie outside of; ``folder`` when left out.
        is_training: refuse a split without any object to learn from.
        with_masks: keep segmentations, which are dropped otherwise.

    Raises:
        UserError: for what has no single meaning, naming the entry.
    """
    notes: list[str] = []
    lists = {key: _list(raw, key, source) for key in ("images", "annotations", "categories")}
    images = _unique(lists["images"], "image", ("file_name",), source, notes)
    categories = _unique(lists["categories"], "category", ("name",), source, notes)
    _name_files(images, source, folder, inside or folder, notes)
    sizes = measure(images, folder, source, notes)
    image_ids, category_ids = numbered(images), numbered(categories)
    annotations = lists["annotations"]
    _refer(annotations, image_ids, category_ids, source)
    original = OriginalIds(_renamed(images, image_ids), _renamed(categories, category_ids))
    frames = {image_ids[key]: size for key, size in sizes.items()}
    _crowds(annotations, source)
    if with_masks:
        check_segmentations(annotations, frames, source)
    usable = check_boxes(annotations, frames, source, notes, with_masks)
    _number(annotations, notes)
    if not usable:
        reason = "every annotation is a crowd or has no area" if annotations else "no annotation"
        if is_training:
            raise UserError(f"{source} has no object to learn from: {reason}.")
        notes.append(f"no object to evaluate with: {reason}")
    truth = {
        "images": list(images.values()),
        "annotations": annotations,
        "categories": list(categories.values()),
    }
    return Cleaned(truth, original, notes)


def _list(raw: Any, key: str, source: object) -> list[Any]:
    found = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{source} is not in COCO's format: it has no list {key!r}.")
    if not found and key != "annotations":
        raise UserError(f"{source} has no {key}.")
    for place, entry in enumerate(found):
        if type(entry) is not dict:
            raise UserError(
                f"{source}: entry {place} of {key} is {shown(entry)}; expected an object with keys."
            )
    return found


def _unique(
    entries: list[dict[str, Any]],
    kind: str,
    texts: tuple[str, ...],
    source: object,
    notes: list[str],
) -> dict[Key, dict[str, Any]]:
    """Entries by the meaning of their ids; those that repeat must be equal."""
    found: dict[Key, dict[str, Any]] = {}
    differing: list[Any] = []
    merged = 0
    for place, entry in enumerate(entries):
        key = key_of(entry.get("id"))
        if key is None:
            raise UserError(
                f"{source}: {kind} number {place} has the id {shown(entry.get('id'))}; expected a "
                "number or a name."
            )
        for text in texts:
            value = entry.get(text)
            if kind == "category" and type(value) in (int, float):
                value = entry[text] = str(value)
            if not isinstance(value, str) or not value.strip() or "\0" in value:
                raise UserError(
                    f"{source}: {kind} {shown(entry['id'])} has the {text} {shown(value)}; "
                    "expected text."
                )
        other = found.setdefault(key, entry)
        if other is not entry:
            merged += 1
            if {**other, "id": key} != {**entry, "id": key}:
                differing.append(entry["id"])
    if differing:
        raise UserError(
            f"{source}: {len(differing):,} ids of {kind} entries are used again by others, the "
            f"first {shown(differing[0])}; give each its own id."
        )
    if merged:
        notes.append(f"{merged:,} repeated {kind} entries were merged")
    return found


def _name_files(
    images: dict[Key, dict[str, Any]],
    source: object,
    folder: Path,
    inside: Path,
    notes: list[str],
) -> None:
    paths = PicturePaths(folder, inside, source)
    files = paths.find([entry["file_name"] for entry in images.values()])
    for entry, file in zip(images.values(), files, strict=True):
        entry["file_name"] = file
    notes += paths.notes
    repeated = [file for file, count in Counter(files).items() if count > 1]
    if repeated:
        notes.append(
            f"{len(repeated):,} pictures have several image entries, the first {repeated[0][:80]}"
        )


def _renamed(entries: dict[Key, dict[str, Any]], ids: dict[Key, int]) -> dict[int, Any]:
    """Give entries their whole numbers; return the file's own ids where they differ."""
    original = {}
    for key, entry in entries.items():
        own, number = entry["id"], ids[key]
        if type(own) is not int or own != number:
            original[number] = own
            entry["id"] = number
    return original


def _refer(
    annotations: list[dict[str, Any]],
    image_ids: dict[Key, int],
    category_ids: dict[Key, int],
    source: object,
) -> None:
    for name, ids in (("category_id", category_ids), ("image_id", image_ids)):
        kind = name.removesuffix("_id")
        for place, annotation in enumerate(annotations):
            value = annotation.get(name)
            # Nearly always a plain number; only others need reading.
            number = ids.get(value if type(value) is int else key_of(value))  # type: ignore[arg-type]
            if number is None:
                label = entry_name(annotation, place)
                if value is None:
                    raise UserError(f"{source}: {label} has no {name}.")
                raise UserError(f"{source}: {label} is of {kind} {shown(value)}, which is none.")
            annotation[name] = number


def _crowds(annotations: list[dict[str, Any]], source: object) -> None:
    for place, annotation in enumerate(annotations):
        value = annotation.get("iscrowd")
        try:
            annotation["iscrowd"] = _CROWD[value]
        except (KeyError, TypeError):
            raise UserError(
                f"{source}: {entry_name(annotation, place)} has the iscrowd {shown(value)}; "
                "expected 0 or 1."
            ) from None


def _number(annotations: list[dict[str, Any]], notes: list[str]) -> None:
    """Number annotations anew unless their ids are whole, above 0 and differ."""
    keys = [key_of(annotation.get("id")) for annotation in annotations]
    wrong = len(keys) - len(set(keys) - {None})
    # An id of 0 means "no match" to COCO's evaluation.
    if not wrong and all(type(key) is int and 0 < key < 2**31 for key in keys):
        for annotation, key in zip(annotations, keys, strict=True):
            annotation["id"] = key
        return
    for place, annotation in enumerate(annotations, 1):
        annotation["id"] = place
    if wrong:
        notes.append(f"{wrong:,} annotation ids repeat or are absent; all were numbered anew")

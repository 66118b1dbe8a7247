"""The images of a detection recipe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vkd.data.reader import listed
from vkd.data.shares import held_out_note, held_out_places
from vkd.detection.annotations import Cleaned, clean_annotations
from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.detection.categories import (
    COCO_LARGEST_ID,
    Categories,
    categories_of,
    default_categories,
)
from vkd.detection.coco import CocoImages
from vkd.detection.config import DetectionConfig
from vkd.detection.formats.coco import coco_places
from vkd.detection.formats.layout import hint
from vkd.detection.formats.place import SplitPlace
from vkd.detection.formats.voc import voc_places
from vkd.detection.formats.yolo import yolo_places
from vkd.detection.naming import aligned
from vkd.detection.transforms import (
    DETECTOR_FORMAT,
    detection_training_transform,
    detection_transform,
)
from vkd.errors import FieldError, UserError
from vkd.inputs import InputFormat
from vkd.notes import say
from vkd.training.spec import resolve


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is read of a data set.

    Attributes:
        splits: of train, validation and test; those that are there when empty.
        path: folder of the data.
        training_transform, transform: of the split train, and of the others.
        categories: of a trained detector; those of the data when left out.
        num_classes: of the detector; 0 for as many as the data has categories.
        with_masks: whether training images come with masks.
        image_folder: folder of the pictures, where they are not below ``path``.
        validation_fraction: share of the training images to validate with, where the data have no
            validation split.
        max_corrupt: unreadable pictures of a split to skip before ``RunError``.
        is_trained: whether the classes are those of a trained detector.
    """

    splits: tuple[str, ...]
    path: str
    training_transform: Callable
    transform: Callable
    categories: Categories | None = None
    num_classes: int = 0
    with_masks: bool = False
    image_folder: str = ""
    validation_fraction: float = 0.1
    max_corrupt: int = 100
    is_trained: bool = False

    def transform_of(self, split: str) -> Callable:
        """Return the transform of a split."""
        return self.training_transform if split == "train" else self.transform


def read_detection(
    config: DetectionConfig,
    categories: Categories | None = None,
    splits: tuple[str, ...] = ("test",),
    num_classes: int = 0,
    inputs: InputFormat = DETECTOR_FORMAT,
) -> dict[str, CocoImages]:
    """Return splits of a recipe's data.

    Args:
        config: the recipe.
        categories: of a trained detector; those of the data when left out.
        splits: of train, validation and test; those that are there when empty.
        num_classes: of a trained detector that does not name its categories.
        inputs: how the detector takes images that are not trained on.

    Raises:
        UserError: if data are not there, or hold categories that the detector does not know.
    """
    if config.image_folder and not Path(config.image_folder).is_dir():
        raise FieldError("image_folder", f"{config.image_folder} is no folder.")
    if categories is None and num_classes == COCO_LARGEST_ID + 1:
        categories = default_categories(num_classes)
    sizes = config.short_side, config.long_side
    request = Request(
        splits=splits,
        path=config.data_path,
        training_transform=detection_training_transform(config.augmentation, *sizes),
        transform=detection_transform(*sizes, inputs),
        categories=categories,
        num_classes=num_classes or config.num_classes,
        with_masks=config.token_label_weight > 0,
        image_folder=config.image_folder,
        validation_fraction=config.validation_fraction,
        max_corrupt=config.max_corrupt,
        is_trained=bool(categories or num_classes),
    )
    return resolve(DETECTION_DATASETS[config.dataset].reader)(request)


def read_coco_splits(request: Request) -> dict[str, CocoImages]:
    """Return splits of a folder in COCO's format; see ``read_splits``."""
    places = coco_places(Path(request.path), request.image_folder)
    layout = "images in {name}2017/ and annotations/instances_{name}2017.json"
    return read_splits(request, places, "coco", layout)


def read_yolo_splits(request: Request) -> dict[str, CocoImages]:
    """Return splits of a folder in YOLO's format, or of its data.yaml; see ``read_splits``."""
    places = yolo_places(Path(request.path), request.image_folder)
    return read_splits(request, places, "yolo", "images/{name}/ and labels/{name}/")


def read_voc_splits(request: Request) -> dict[str, CocoImages]:
    """Return splits of a folder in Pascal VOC's format; see ``read_splits``."""
    places = voc_places(Path(request.path), request.image_folder)
    layout = "ImageSets/Main/{name}.txt and Annotations/*.xml, or XML files below {name}/"
    return read_splits(request, places, "voc", layout)


def read_splits(
    request: Request, places: dict[str, SplitPlace], dataset: str, layout: str
) -> dict[str, CocoImages]:
    """Return splits of a data set, with classes found by name.

    The test split is that of validation where there is none with annotations; that of validation
    is a share of the training images where there is none.

    Args:
        request: what is read.
        places: where the splits lie that are there.
        dataset: the name of the format.
        layout: the files of a split called ``{name}`` in this format, for messages.
    """
    parts = _Parts(request, places, dataset, layout)
    categories = request.categories
    found: dict[str, CocoImages] = {}
    owners: list[tuple[str, SplitPlace]] = []
    for split in parts.splits:
        place, cleaned = parts.part(split)
        if categories is None:
            categories = categories_of(cleaned.truth, request.num_classes)
            if request.is_trained:
                names = listed(name for name in categories.names if name)
                cleaned.notes.append(f"the weights name no classes; taken as, in order: {names}")
        others = {name: found[name] for name, other in owners if other is not place}
        cleaned.notes += _shared(others, place, cleaned)
        owners.append((split, place))
        owner = "model" if request.is_trained else "training split"
        say(place.file, cleaned.notes)
        found[split] = CocoImages(
            place.pictures,
            cleaned.truth,
            aligned(categories, cleaned.truth, place.file, owner),
            request.transform_of(split),
            split == "train" and request.with_masks,
            substitute=split == "train",
            max_corrupt=request.max_corrupt,
            source=str(place.file),
            original=cleaned.original,
            notes=cleaned.notes,
        )
    return found


def _shared(others: dict[str, CocoImages], place: SplitPlace, cleaned: Cleaned) -> list[str]:
    """A note for each other split that has pictures of this one."""
    own = {place.pictures / entry["file_name"] for entry in cleaned.truth["images"]}
    counts = {
        split: len(own.intersection(path for _, path in images.sources()))
        for split, images in others.items()
    }
    return [f"{n:,} pictures are in the {split} split, too" for split, n in counts.items() if n]


class _Parts:
    """The splits of a data set, or what stands for them, each read once."""

    def __init__(
        self, request: Request, places: dict[str, SplitPlace], dataset: str, layout: str
    ) -> None:
        self.request, self.places, self.dataset, self.layout = request, places, dataset, layout
        self.splits = request.splits or self._every()
        self._cleaned: dict[str, Cleaned] = {}

    def part(self, split: str) -> tuple[SplitPlace, Cleaned]:
        """Return the place and the ground truth of a split."""
        notes = []
        if split == "test":
            if "test" in self.places:
                cleaned = self._clean("test")
                if cleaned.truth["annotations"]:
                    return self.places["test"], cleaned
                notes.append(f"{self.places['test'].file.name} has no annotations, so")
            else:
                notes.append("no test split, so")
        if split != "train" and "validation" in self.places:
            cleaned = self._clean("validation")
            said = [f"{note} the validation split is evaluated" for note in notes]
            return self.places["validation"], replace(cleaned, notes=cleaned.notes + said)
        if "train" not in self.places:
            path = self.request.path
            layout = self.layout.format(name="train" if split == "train" else "val")
            raise FieldError(
                "data_path",
                f": {path} has no {split} split; expected {layout}"
                f"{hint(Path(path), self.dataset)}.",
            )
        cleaned = self._clean("train")
        if split != "train" or "validation" not in self.places:
            cleaned = held_out(cleaned, self.request.validation_fraction, split != "train")
        return self.places["train"], cleaned

    def _every(self) -> tuple[str, ...]:
        """The splits that are there, or that training would make."""
        found = set(self.places) or {"train"}
        if "train" in found:
            found.add("validation")
        return tuple(split for split in ("train", "validation", "test") if split in found)

    def _clean(self, split: str) -> Cleaned:
        if split not in self._cleaned:
            is_training = split == "train" and "train" in self.splits
            self._cleaned[split] = clean_place(
                self.places[split], is_training, is_training and self.request.with_masks
            )
        return self._cleaned[split]


def clean_place(place: SplitPlace, is_training: bool = False, with_masks: bool = False) -> Cleaned:
    """Return the clean ground truth of a split; see ``clean_annotations``."""
    raw, notes = place.read()
    if is_training and notes and isinstance(raw, dict) and raw.get("annotations") == []:
        raise UserError(f"{place.file} has no object to learn from: {'; '.join(notes)[:200]}.")
    cleaned = clean_annotations(
        raw, place.file, place.pictures, place.inside, is_training, with_masks
    )
    cleaned.notes[:0] = notes
    return cleaned


def held_out(cleaned: Cleaned, fraction: float, is_share: bool) -> Cleaned:
    """Return the share of images to validate with, or all others.

    Raises:
        FieldError: if there is but one image, or no object in the share or the rest.
    """
    images = cleaned.truth["images"]
    held = held_out_places(np.zeros(len(images), dtype=np.int64), fraction)
    if not held.any():
        raise FieldError("data_path", "has no validation split, and one training image alone.")
    kept = {e["id"] for e, is_held in zip(images, held, strict=True) if is_held == is_share}
    truth = cleaned.truth | {
        "images": [entry for entry in images if entry["id"] in kept],
        "annotations": [a for a in cleaned.truth["annotations"] if a["image_id"] in kept],
    }
    if all(annotation["iscrowd"] for annotation in truth["annotations"]):
        raise FieldError(
            "validation_fraction",
            f"is {fraction:g}, which leaves no object to {'validate' if is_share else 'train'} "
            "with; name another fraction, or make a validation split.",
        )
    notes = [held_out_note(held, "images")] if is_share else cleaned.notes
    return Cleaned(truth, cleaned.original, notes)

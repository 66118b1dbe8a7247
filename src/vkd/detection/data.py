"""The images of a detection recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vkd.data.reader import listed
from vkd.data.shares import held_out_note, held_out_places
from vkd.detection.annotations import Cleaned
from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.detection.categories import (
    COCO_LARGEST_ID,
    Categories,
    categories_of,
    default_categories,
)
from vkd.detection.coco import CocoImages, clean_place
from vkd.detection.coco_folders import SplitPlace, coco_places
from vkd.detection.config import DetectionConfig
from vkd.detection.naming import aligned
from vkd.detection.transforms import (
    DETECTOR_FORMAT,
    detection_training_transform,
    detection_transform,
)
from vkd.errors import FieldError
from vkd.inputs import InputFormat
from vkd.notes import say
from vkd.training.spec import resolve


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is read of a data set.

    Attributes:
        splits: of train, validation and test.
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
        splits: of train, validation and test.
        num_classes: of a trained detector that does not name its categories.
        inputs: how the detector takes images that are not trained on.

    Raises:
        UserError: if data are not there, or hold categories that the detector does not know.
    """
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
    """Return splits of a folder in COCO's format, with classes found by name.

    The test split is that of validation where there is none with annotations; that of validation
    is a share of the training images where there is none.
    """
    places = coco_places(Path(request.path), request.image_folder)
    parts = {split: _part(split, places, request) for split in request.splits}
    categories = request.categories
    found = {}
    for split, (place, cleaned) in parts.items():
        if categories is None:
            categories = categories_of(cleaned.truth, request.num_classes)
            if request.is_trained:
                names = listed(name for name in categories.names if name)
                cleaned.notes.append(f"the weights name no classes; taken as, in order: {names}")
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


def _part(
    split: str, places: dict[str, SplitPlace], request: Request
) -> tuple[SplitPlace, Cleaned]:
    """The place and the ground truth of a split, or of what stands for it."""
    notes = []
    if split == "test":
        if "test" in places:
            cleaned = clean_place(places["test"], may_lack_annotations=True)
            if cleaned.truth["annotations"]:
                return places["test"], cleaned
            notes.append(f"{places['test'].file.name} has no annotations, so")
        else:
            notes.append("no test split, so")
    if split != "train" and "validation" in places:
        cleaned = clean_place(places["validation"])
        cleaned.notes += [f"{note} the validation split is evaluated" for note in notes]
        return places["validation"], cleaned
    if "train" not in places:
        name = "train2017" if split == "train" else "val2017"
        raise FieldError(
            "data_path",
            f"{request.path} has no {split} split in COCO's layout: images in {name}/ and "
            f"annotations/instances_{name}.json.",
        )
    place = places["train"]
    with_masks = request.with_masks and split == "train"
    cleaned = clean_place(place, split == "train", with_masks)
    if split != "train" or "validation" not in places:
        cleaned = held_out(cleaned, request.validation_fraction, split != "train")
    return place, cleaned


def held_out(cleaned: Cleaned, fraction: float, is_share: bool) -> Cleaned:
    """Return the share of images to validate with, or all others.

    Raises:
        FieldError: if there is but one image.
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
    notes = [held_out_note(held, "images")] if is_share else cleaned.notes
    return Cleaned(truth, cleaned.original, notes)

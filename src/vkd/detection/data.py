"""The images of a detection recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.detection.coco import Categories, CocoImages, categories_of, read_coco
from vkd.detection.config import DetectionConfig
from vkd.detection.transforms import detection_training_transform, detection_transform
from vkd.errors import FieldError
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

    def transform_of(self, split: str) -> Callable:
        """Return the transform of a split."""
        return self.training_transform if split == "train" else self.transform


def read_detection(
    config: DetectionConfig,
    categories: Categories | None = None,
    splits: tuple[str, ...] = ("test",),
    num_classes: int = 0,
) -> dict[str, CocoImages]:
    """Return splits of a recipe's data.

    Args:
        config: the recipe.
        categories: of a trained detector; those of the data when left out.
        splits: of train, validation and test.
        num_classes: of a trained detector that does not name its categories.

    Raises:
        UserError: if data are not there, or hold categories that the detector does not know.
    """
    sizes = config.short_side, config.long_side
    request = Request(
        splits=splits,
        path=config.data_path,
        training_transform=detection_training_transform(config.augmentation, *sizes),
        transform=detection_transform(*sizes),
        categories=categories,
        num_classes=num_classes or config.num_classes,
        with_masks=config.token_label_weight > 0,
        image_folder=config.image_folder,
        validation_fraction=config.validation_fraction,
        max_corrupt=config.max_corrupt,
    )
    return resolve(DETECTION_DATASETS[config.dataset].reader)(request)


def read_coco_splits(request: Request) -> dict[str, CocoImages]:
    """Return splits of a folder in COCO's format; validation and test are both ``val``."""
    found, categories = {}, request.categories
    for split in request.splits:
        with_masks = split == "train" and request.with_masks
        folder, cleaned, file = read_coco(
            Path(request.path),
            "train" if split == "train" else "val",
            request.image_folder,
            with_masks,
        )
        truth = cleaned.truth
        categories = categories or categories_of(truth, request.num_classes)
        for entry in truth["categories"]:
            if entry["id"] not in categories.labels:
                known_by = "training split" if len(request.splits) > 1 else "model"
                raise FieldError(
                    "data_path",
                    f"{request.path} has the category {entry['name']!r} (id {entry['id']}), which "
                    f"the {known_by} does not have.",
                )
        transform = request.transform_of(split)
        found[split] = CocoImages(
            folder,
            truth,
            categories,
            transform,
            with_masks,
            substitute=split == "train",
            max_corrupt=request.max_corrupt,
            source=str(file),
            original=cleaned.original,
            notes=cleaned.notes,
        )
    return found

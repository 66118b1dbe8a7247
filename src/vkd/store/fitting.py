"""Whether a store is of a recipe's images and teacher."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from torch.utils.data import Dataset

from vkd.config import LabelledImagesConfig
from vkd.data.fingerprint import Fingerprint, TrainingData, holds_the_same
from vkd.data.views import Views
from vkd.errors import FieldError, as_user_error
from vkd.models.digest import checkpoint_digest
from vkd.models.factory import HUB
from vkd.notes import say
from vkd.store.description import StoreDescription, StoreOptions, describe
from vkd.store.teacher import DiskTeacher


class ClassedData(TrainingData, Protocol):
    """Training images of named classes."""

    @property
    def classes(self) -> list[str]: ...


@dataclass(frozen=True)
class Contents:
    """What a store for a recipe holds.

    Attributes:
        config: the recipe.
        splits: its data.
        decisive: names of the fields that decide which images a teacher sees, and its outputs.
        later: further such fields, with their values in stores of earlier versions, which do not
            name them.
        in_pairs: whether images are mixed in pairs.
    """

    config: LabelledImagesConfig
    splits: ClassedData
    decisive: Iterable[str]
    later: Mapping[str, Any] = field(default_factory=dict)
    in_pairs: bool = False

    @property
    def entries(self) -> dict[str, Any]:
        """The settings to note in a store; of later ones those that differ from before."""
        values = vars(self.config)
        found = {name: values[name] for name in self.decisive}
        found |= {name: values[name] for name, old in self.later.items() if values[name] != old}
        if "data" in self.config.objects:
            found["data"] = self.config.objects["data"]
        if self.config.teacher_precision != "auto":
            found["teacher_precision"] = self.config.teacher_precision
        return found

    def described(self, options: StoreOptions) -> StoreDescription:
        """Return the description of a new store."""
        return StoreDescription(
            len(cast(Any, self.splits.train)),
            options.views,
            self.config.seed,
            options.dtype,
            self.splits.classes,
            self.entries,
            top_k=options.top_k,
            pairs=self.in_pairs,
        )


def fitting_store(contents: Contents) -> DiskTeacher:
    """Return the store that a recipe names.

    Raises:
        UserError: if it is incomplete, damaged, or of another recipe, data or teacher.
    """
    config, splits = contents.config, contents.splits
    folder = config.teacher_store
    with as_user_error("teacher_store"):
        store = DiskTeacher(Path(folder))
    found, entries, later = store.description, contents.entries, contents.later
    for name in (*entries, *later):
        before, value = (part.get(name, later.get(name)) for part in (found.recipe, entries))
        if value != before:
            raise FieldError(
                "teacher_store", f"{folder} has {name} {before!r}, the recipe {value!r}."
            )
    count = len(cast(Any, splits.train))
    if (found.images, found.classes) != (count, splits.classes):
        raise FieldError(
            "teacher_store",
            f"{folder} was made of {found.images} images in {len(found.classes)} classes, the data "
            f"has {count} in {len(splits.classes)}.",
        )
    check_pictures(found, splits, folder, "teacher_store")
    _check_weights(found, config)
    return store


def views_of(folder: str, images: Dataset | None, description: StoreDescription) -> Views:
    """Return the views of the images that a store is of; say if an image is left out of each."""
    views = Views(images, description.views, description.seed, description.pairs)
    if views.left_out:
        say(
            folder,
            [
                f"images are mixed in pairs, so of {description.images:,} one is left out of each "
                "view, another in each"
            ],
        )
    return views


def check_pictures(stored: StoreDescription, splits: TrainingData, folder: str, field: str) -> None:
    """Raise ``FieldError`` about ``field`` if a store was made of other pictures than the data's.

    Where that cannot be known, for stores of earlier versions, it is said.
    """
    if not stored.pictures.get("listing"):
        say(
            folder, ["the store does not say of which pictures it was made, so that is not checked"]
        )
    elif not holds_the_same(Fingerprint(**stored.pictures), splits):
        raise FieldError(
            field,
            f": {folder} was made of other pictures than the data holds now (names, labels, sizes "
            "or contents differ); make a new store.",
        )


def source_of(folder: str) -> str:
    """Return the digest of a store for ``vkd.training.task.Task.sources``."""
    stored = describe(Path(folder))
    return f"{stored.pictures} {stored.teacher_weights}"


def _check_weights(stored: StoreDescription, config: LabelledImagesConfig) -> None:
    checkpoint = config.teacher_checkpoint
    if checkpoint in ("", HUB) or not stored.teacher_weights:
        return
    if not Path(checkpoint).exists():
        say(checkpoint, [f"not here, so it is not compared with the store {config.teacher_store}"])
    elif checkpoint_digest(checkpoint) != stored.teacher_weights:
        raise FieldError(
            "teacher_store",
            f": {config.teacher_store} holds outputs of other weights than {checkpoint} has now; "
            "make a new store.",
        )

"""The pictures of an embedding recipe, and labelled ones to measure it with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import nn
from torch.utils.data import Dataset

from vkd.data.catalogue import SMALL
from vkd.data.image_splits import read_images
from vkd.data.images import Images, Splits
from vkd.data.layout import holds
from vkd.data.photographs import Photographs, open_source
from vkd.data.samples import OpenSamples, samples_of
from vkd.data.sources import PhotographSource
from vkd.data.transforms import IMAGENET, evaluation_transform
from vkd.embedding.config import AUTO, EmbeddingConfig
from vkd.errors import FieldError, UserError
from vkd.inputs import InputFormat
from vkd.models.photographs import photograph_format
from vkd.notes import say

_HUGGING_FACE = ("*.parquet", "*/*.parquet", "dataset_dict.json", "dataset_info.json")


@dataclass(frozen=True)
class Probe:
    """Labelled pictures that an embedding is measured with; items are (image, label, index).

    Attributes:
        index: whose embeddings and labels are known.
        validation, test: those to classify, and to find others like them for.
        classes: names.
    """

    index: Dataset
    validation: Dataset
    test: Dataset
    classes: list[str]


def read_splits(config: EmbeddingConfig, inputs: InputFormat) -> Splits:
    """Return the pictures of a recipe, without labels; a share is held out where none is there.

    Args:
        config: the recipe.
        inputs: how the student takes photographs; small images are normalised by their own
            statistics.

    Raises:
        UserError: if they are not where the recipe says.
    """
    return read_images(config, picture_source(config), inputs)


def open_samples(config: EmbeddingConfig) -> OpenSamples:
    """Return the pictures of a recipe's data; see ``vkd.data.samples.samples_of``."""
    return samples_of(picture_source(config))


def picture_source(config: EmbeddingConfig) -> PhotographSource:
    """Return where the pictures of a recipe come from.

    Raises:
        FieldError: if there is nothing.
    """
    if config.dataset == AUTO:
        # Checked once more, as fields now have no effect that the found kind does not read.
        config = replace(config, dataset=kind_of(config.data_path))
    return PhotographSource(
        config.dataset,
        config.data_path,
        image_folder=config.image_folder,
        image_column=config.image_column,
        validation_fraction=config.validation_fraction,
        max_corrupt=config.max_corrupt,
        labelled=False,
    )


def kind_of(path: str) -> str:
    """Return the kind of data that a path holds, by its files; a folder is a tree of pictures.

    Raises:
        FieldError: if there is nothing.
    """
    place = Path(path)
    if not path:
        raise FieldError("data_path", "is required: a folder or file of pictures.")
    if not place.exists():
        raise FieldError(
            "data_path",
            f": there is no {path}; for a name on the hub of Hugging Face set dataset hfds "
            "(--dataset hfds).",
        )
    if not place.is_dir():
        return "table"
    if holds(place, "*.tar", "*/*.tar"):
        say(path, ["read as shards of WebDataset (dataset wds), as there are tar files"])
        return "wds"
    if holds(place, *_HUGGING_FACE):
        say(path, ["read as a data set of Hugging Face (dataset hfds), by its files"])
        return "hfds"
    return "folder"


def read_probe(config: EmbeddingConfig, splits: Splits) -> Probe | None:
    """Return the labelled pictures to measure with; None without any.

    Raises:
        FieldError: if the folder has none, or all are of one class.
    """
    if config.has_labels:
        train = cast(Images, splits.train)
        plain = Images(train.images, train.labels)  # not augmented
        return Probe(plain, splits.validation, splits.test, splits.classes)
    if not config.probe_path:
        return None
    try:
        opened = open_source(
            PhotographSource("folder", config.probe_path, max_corrupt=config.max_corrupt)
        )
    except UserError as error:
        raise FieldError("probe_path", f": {error}") from None
    readers = opened.readers
    if "train" not in readers:
        raise FieldError("probe_path", f": {config.probe_path} has no folder train with classes.")
    classes = readers["train"].classes
    if len(classes) < 2:
        raise FieldError("probe_path", f": {config.probe_path} has one class; two are needed.")
    found = {
        split: Photographs(reader, evaluation_transform(splits.format), False, config.max_corrupt)
        for split, reader in readers.items()
    }
    validation = found.get("validation", found.get("test"))
    assert validation is not None  # held out where there is none
    return Probe(found["train"], validation, found.get("test", validation), classes)


def student_format(config: EmbeddingConfig, student: nn.Module | None = None) -> InputFormat:
    """Return how a student takes photographs: as it is published, at the recipe's size.

    Args:
        config: the recipe.
        student: given as an object.
    """
    name = "" if config.dataset in SMALL else config.objects.get("student", config.student)
    network = student or config.student
    return photograph_format(network, IMAGENET, config.input_size, config.evaluation_crop, name)

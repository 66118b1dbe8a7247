"""What an embedding is measured by, beside its teacher: similarity, and labelled pictures."""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset, Subset

from vkd.data.images import loader
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.quality import (
    cosine_correlation,
    knn_accuracy,
    linear_cka,
    linear_probe_accuracy,
    retrieval_recall,
)
from vkd.errors import FieldError
from vkd.training.reading import read

RECALLS = (1, 5, 10)
_LEAST = 4  # pictures, of which similarity says anything
Embed = Callable[[Tensor], Tensor]


class Rows(NamedTuple):
    """Embeddings of the pictures of a data set that can be read.

    Attributes:
        features: (N, D), float32, on the CPU.
        labels: (N,).
        skipped: number of pictures that could not be read.
    """

    features: Tensor
    labels: Tensor
    skipped: int


@dataclass(frozen=True)
class LabelledRows:
    """Embeddings of labelled pictures: those that are known, and those to find others like."""

    index: Rows
    queries: Rows


@torch.no_grad()
def embedded(
    embed: Embed, images: Dataset, classes: int, config: EmbeddingConfig, accelerator: Accelerator
) -> Rows:
    """Return the embeddings of a data set in its order, each picture once; all processes get all.

    Args:
        embed: maps images (N, C, H, W) on the accelerator's device to (N, D).
        images: whose items are (image, label, index).
        classes: number of labels.
        config: the recipe.
        accelerator: of the processes, each of which embeds a share.
    """
    count = len(cast(Sized, images))
    share = -(-count // accelerator.num_processes)
    # As many on each process, the last picture again where they do not come out even.
    mine = (torch.arange(share) + share * accelerator.process_index).clamp(max=count - 1)
    batches = loader(
        Subset(images, mine.tolist()),
        max(config.batch_size, 256),
        workers=config.workers,
        pin_memory=config.pins_memory,
        classes=classes,
        lowest=-1,
    )
    features, labels = [], []
    for part, known, _ in read(batches):
        with accelerator.autocast():
            features.append(embed(part.to(accelerator.device)).float())
        labels.append(known.to(accelerator.device))
    found, kinds = (
        accelerator.gather(torch.cat(parts))[:count].cpu() for parts in (features, labels)
    )
    readable = kinds >= 0
    return Rows(found[readable], kinds[readable], int((~readable).sum()))


def similarity(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Return how alike two sets of features of the same pictures are.

    ``cka`` from 0 to 1, and the correlation of pairwise cosines from -1 to 1.
    """
    return {
        "cka": linear_cka(student, teacher),
        "cosine_correlation": cosine_correlation(student, teacher),
    }


def labelled_measures(rows: LabelledRows) -> dict[str, float]:
    """Return accuracy of neighbours and of a linear probe, and recall of retrieval, in %."""
    index, queries = rows.index, rows.queries
    parts = (index.features, index.labels, queries.features, queries.labels)
    recalls = retrieval_recall(*parts, ks=RECALLS)
    return {
        "knn": knn_accuracy(*parts),
        "linear_probe": linear_probe_accuracy(*parts),
    } | {f"recall_{k}": value for k, value in recalls.items()}


def of_teacher(measures: Mapping[str, float]) -> dict[str, float]:
    """Return measures by the names that they have beside a student's."""
    return {f"teacher_{name}": value for name, value in measures.items()}


def require_measurable(count: int, field: str, what: str) -> None:
    """Raise ``FieldError`` about ``field`` for too few pictures to measure similarity with."""
    if count < _LEAST:
        raise FieldError(
            field, f"leaves {count} {what}; similarity takes {_LEAST} or more to measure."
        )

"""How like embeddings are to the teacher's, and which pictures are nearest to which."""

from collections.abc import Callable, Sized
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.data.description import as_picture, few_batches, spread
from vkd.data.images import Splits
from vkd.distiller import Distiller, Pair
from vkd.embedding.distillation import MethodLoss
from vkd.methods.method import Method
from vkd.teacher import Teacher
from vkd.training.findings import Absent, Finding, Picture, PictureRows
from vkd.training.similarities import Similarities, samples_to_compare, similarity_of
from vkd.training.task import Evaluated

_QUERIES, _NEIGHBOURS = 6, 5
_SIDE = 128


class Compared(NamedTuple):
    """Some pictures with the embeddings of student (N, S) and teacher (N, T).

    Attributes:
        places: of the pictures in their data set.
        labels: of the pictures.
        student: their embeddings by the student.
        teacher: and by the teacher; None without one.
    """

    places: list[int]
    labels: list[int]
    student: Tensor
    teacher: Tensor | None


@torch.no_grad()
def compared(splits: Splits, teacher: Teacher | None, epochs: int, model: Evaluated) -> Compared:
    """Return the embeddings of some validation pictures that can be read, evenly spread.

    Args:
        splits: the data.
        teacher: whose features the student is measured by; None without one.
        epochs: of training.
        model: the student as it is evaluated.
    """
    images: Any = splits.validation
    count = samples_to_compare(len(images), epochs * len(cast(Sized, splits.train)))
    ours, theirs, labels = [], [], []
    for batch, known, _ in few_batches(images, count):
        inputs = batch.to(model.accelerator.device)
        with model.accelerator.autocast():
            ours.append(model.predict(inputs).float().cpu())
        if teacher is not None:
            theirs.append(teacher(inputs).only.float().cpu())
        labels.append(known)
    every = torch.cat(labels)
    kept = (every >= 0).nonzero()[:, 0]
    places = spread(len(images), count)
    return Compared(
        [places[place] for place in kept.tolist()],
        every[kept].tolist(),
        torch.cat(ours)[kept],
        torch.cat(theirs)[kept] if theirs else None,
    )


def similarities_of(
    found: Compared,
    total: int,
    distiller: Distiller | None,
    is_embedding: Callable[[Pair], bool],
) -> Similarities:
    """Return how like the student's embeddings are to the teacher's.

    Args:
        found: the embeddings.
        total: validation pictures.
        distiller: whose method may have a projection.
        is_embedding: whether a pair of its layers compares the embedding.
    """
    if found.teacher is None:
        return Similarities(reason="there is no teacher")
    method = _method(distiller, is_embedding)
    projection = target = None
    if method is not None and (projection := method.projection_weight()) is not None:
        target = method.target(found.teacher.to(projection.device))
    samples = f"{len(found.places):,} of {total:,} validation pictures"
    names = "embeddings of student and teacher"
    return Similarities(
        [similarity_of(names, samples, found.student, found.teacher, projection, target)]
    )


def _method(distiller: Distiller | None, is_embedding: Callable[[Pair], bool]) -> Method | None:
    """The method that compares the embedding with what it is measured by."""
    if distiller is None:
        return None
    for loss, pair in zip(distiller.losses.values(), distiller.pairs, strict=True):
        method = cast(MethodLoss, loss).method
        if is_embedding(pair) and pair.teacher == 0 and isinstance(method, Method):
            return method
    return None


def neighbours_of(found: Compared, splits: Splits, with_labels: bool) -> list[Finding]:
    """Return the nearest pictures of a few, by the student and by the teacher.

    Args:
        found: the embeddings.
        splits: the data.
        with_labels: whether labels are worth telling.
    """
    titles = {"student": found.student}
    if found.teacher is not None:
        titles["teacher"] = found.teacher
    return [
        _nearest(f"Nearest neighbours by the {name}", features, found, splits, with_labels)
        for name, features in titles.items()
    ]


def _nearest(
    title: str, features: Tensor, found: Compared, splits: Splits, with_labels: bool
) -> Finding:
    if len(features) < 2:
        return Absent(title=title, text="There are fewer than two pictures to compare.")
    directions = F.normalize(features, dim=1)
    rows = []
    for query in spread(len(features), _QUERIES):
        cosines = directions @ directions[query]
        cosines[query] = -torch.inf
        best = cosines.topk(min(_NEIGHBOURS, len(cosines) - 1))
        row = [_picture(query, found, splits, with_labels, "")]
        for cosine, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row.append(_picture(place, found, splits, with_labels, f", cosine {cosine:.2f}"))
        rows.append(row)
    text = (
        f"{len(rows)} of {len(features):,} validation pictures as queries, evenly spread; the "
        f"others are searched, by cosine."
    )
    return PictureRows(title=title, text=text, first="query", others="nearest first", rows=rows)


def _picture(place: int, found: Compared, splits: Splits, with_labels: bool, more: str) -> Picture:
    number = found.places[place]
    images: Any = splits.validation
    picture = as_picture(images[number][0], splits.format)
    picture.thumbnail((_SIDE, _SIDE))
    label = f"{splits.classes[found.labels[place]]}, " if with_labels else ""
    return Picture(picture, f"{label}picture {number}{more}")

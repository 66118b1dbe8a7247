"""Finding the pictures of an index that are nearest to others, by student, teacher or both."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.data.prediction import list_pictures
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.embedder import Embedder
from vkd.embedding.files import SUFFIXES, check_target, read_embeddings, write_embeddings
from vkd.embedding.inference import teacher_at_hand
from vkd.embedding.mixed import folded, projected
from vkd.embedding.mixed_measures import leads_to_teacher
from vkd.embedding.spec import EmbeddingSearch
from vkd.embedding.teachers import teachers_of
from vkd.errors import FieldError, RunError, UserError, as_user_error, shortened
from vkd.models.checkpoints import Checkpoint
from vkd.normalization import NORMALIZATIONS
from vkd.notes import say
from vkd.teacher import Teacher
from vkd.training.task import Objects

# Normalisations whose statistics are those of many rows.
_OF_ROWS = ("standardize", "whiten")


class Rows(NamedTuple):
    """Pictures by name, with embeddings (N, D)."""

    names: list[str]
    features: Tensor


def search(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    queries: Sequence[str],
    options: EmbeddingSearch,
    objects: Objects,
) -> Iterator[dict[str, Any]]:
    """Yield for each query and neighbour ``query``, ``rank`` from 1, ``image`` and ``similarity``.

    The similarity is the cosine, from -1 to 1. A query that is in the index under its own name is
    not its own neighbour. A query that cannot be read has an ``error``.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: the student.
        queries: names of picture files.
        options: what is searched, and how.
        objects: student and teacher, where they are given as objects.

    Raises:
        UserError: if there is nothing to search or to search with, or widths do not fit.
    """
    target = Path(options.save_index) if options.save_index else None
    if target is not None:
        check_target(target, "save_index")
    embedder = Embedder.of(config, checkpoint, objects)
    if options.index_by == "teacher":
        _require_projection(config, checkpoint, embedder)
    index = _index(config, checkpoint, embedder, options, objects)
    if target is not None:
        write_embeddings(target, [index], index.features.shape[1])
    if len(index.names) < options.count:
        say(options.index, [f"has {len(index.names)} pictures, of which all are found"])
    return _neighbours(embedder, index, queries, options)


def _require_projection(
    config: EmbeddingConfig, checkpoint: Checkpoint, embedder: Embedder
) -> None:
    if embedder.projection is None:
        raise UserError(
            f"{shortened(checkpoint.file, 120)} has no orthogonal projection beside it, which "
            "searching a teacher's index takes (index_by)."
        )
    if not leads_to_teacher(config):
        raise UserError(
            f"The projection beside {shortened(checkpoint.file, 120)} does not lead to the "
            "teacher's normalised embedding, which searching its index takes (index_by)."
        )


def _index(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    embedder: Embedder,
    options: EmbeddingSearch,
    objects: Objects,
) -> Rows:
    """The rows to search, in the space that the queries will be in."""
    is_file = Path(options.index).suffix in SUFFIXES
    if options.index_by == "student":
        rows = _read(options) if is_file else _embedded(embedder, options)
        _require_width(rows, embedder.width, options, "the student")
        return rows
    assert embedder.projection is not None
    if is_file:
        rows = _read(options)
    else:
        rows = _embedded(
            embedder, options, _teacher(config, checkpoint, embedder, options, objects)
        )
    _require_width(rows, len(embedder.projection), options, "the teacher")
    if config.normalization in _OF_ROWS:
        say(
            options.index,
            [
                f"{config.normalization} takes the statistics of its {len(rows.names)} pictures, "
                "as it took those of batches in training"
            ],
        )
    with as_user_error("index"):
        features = NORMALIZATIONS[config.normalization](rows.features)
    return Rows(rows.names, folded(features, embedder.projection) if options.fold else features)


def _teacher(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    embedder: Embedder,
    options: EmbeddingSearch,
    objects: Objects,
) -> Teacher:
    if objects.teacher is not None:
        return teachers_of(config, embedder.inputs, objects.teacher)[0].measured
    weights = options.teacher_checkpoint
    found = teacher_at_hand(config, checkpoint, weights, embedder.inputs)
    if found is None:
        raise FieldError(
            "index_by",
            "teacher needs the teacher, which is not at hand; give teacher_checkpoint "
            "(--teacher-checkpoint), or a file of its embeddings as index.",
        )
    return found


def _read(options: EmbeddingSearch) -> Rows:
    rows = Rows(*read_embeddings(options.index))
    if not rows.names:
        raise FieldError("index", f": {shortened(options.index, 150)} holds no embeddings.")
    return rows


def _embedded(embedder: Embedder, options: EmbeddingSearch, teacher: Teacher | None = None) -> Rows:
    """Embeddings of pictures by the student, or by a teacher that takes its images."""
    names: list[str] = []
    parts: list[Tensor] = []
    embed = None if teacher is None else partial(_only, teacher)
    files = list_pictures([options.index])
    if files == [options.index] and not Path(options.index).exists():
        raise FieldError("index", f": there is no {shortened(options.index, 200)}.")
    for found, features, errors in embedder.answer(files, options.batch_size, embed):
        say(options.index, [f"skipped: {error.rstrip('.')}" for error in errors.values()])
        names += found
        parts += [features] * bool(found)
    if not names:
        raise FieldError("index", f": no picture of {shortened(options.index, 150)} can be read.")
    rows = torch.cat(parts)
    if not rows.isfinite().all():
        wrong = names[int((~rows.isfinite()).any(1).nonzero()[0])]
        raise RunError(f"The embedding of {shortened(wrong, 150)} is not finite.")
    return Rows(names, rows)


def _only(teacher: Teacher, images: Tensor) -> Tensor:
    return teacher(images).only


def _require_width(rows: Rows, width: int, options: EmbeddingSearch, owner: str) -> None:
    found = rows.features.shape[1]
    if found != width:
        raise FieldError(
            "index",
            f": {shortened(options.index, 120)} has {found} features a picture, and {owner} has "
            f"{width}; see index_by.",
        )


def _neighbours(
    embedder: Embedder, index: Rows, queries: Sequence[str], options: EmbeddingSearch
) -> Iterator[dict[str, Any]]:
    directions = F.normalize(index.features, dim=1)
    places: dict[str, list[int]] = {}
    for number, name in enumerate(index.names):
        places.setdefault(_place(name), []).append(number)
    for names, features, errors in embedder.answer(list(queries), options.batch_size):
        for file, reason in errors.items():
            yield {"query": file, "error": reason}
        if options.index_by == "teacher" and not options.fold and embedder.projection is not None:
            features = projected(features, embedder.projection)
        for name, cosines in zip(names, F.normalize(features, dim=1) @ directions.T, strict=True):
            own = places.get(_place(name), [])
            cosines[own] = -torch.inf
            best = cosines.topk(min(options.count, len(cosines) - len(own)))
            pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
            for rank, (score, number) in enumerate(pairs, 1):
                found = {"query": name, "rank": rank, "image": index.names[number]}
                yield found | {"similarity": round(score, 4)}


def _place(name: str) -> str:
    """A file's place, whatever name it goes by."""
    return str(Path(name).absolute())

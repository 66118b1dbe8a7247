"""``vkd.search``."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe, options_from
from vkd.api.predict import answered
from vkd.data.prediction import list_pictures
from vkd.errors import FieldError, UserError, shortened
from vkd.inside import inside
from vkd.reporting.neighbours import check_target, write_neighbours
from vkd.tasks import task_of
from vkd.training.spec import TaskSpec, resolve
from vkd.training.task import Objects

Record = dict[str, Any]


def search(
    checkpoint: str | Path,
    queries: Sequence[str | Path],
    index: str | Path,
    recipe: str = "",
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    output: str | Path = "",
    image_folder: str | Path = "",
    **options: Any,
) -> list[Record]:
    """Return the pictures of an index that are nearest to each query.

    Args:
        checkpoint: weights file or run folder of an embedding.
        queries: files, folders or patterns.
        index: a folder of pictures, a pattern, or a file of embeddings (.npy, .parquet) that
            ``vkd.predict`` wrote.
        recipe: name or file, where the checkpoint does not name its own.
        student: your own network, where the run was trained with one.
        teacher: likewise.
        output: new .html or .png file in which queries are drawn with their neighbours; none when
            empty.
        image_folder: folder of the pictures that an index file names, where they are to be drawn
            and lie neither below the file's folder nor below the current one; no others are opened.
        **options: of the task's own search: ``count`` neighbours (5), ``index_by`` student or
            teacher, ``fold``, ``save_index``, ``teacher_checkpoint``, ``batch_size``; see
            ``vkd.embedding.spec.EmbeddingSearch``.

    Returns:
        For each query and neighbour ``query``, ``rank`` from 1, ``image`` and ``similarity``, the
        cosine; for a query that cannot be read ``query`` and ``error``.

    Raises:
        UserError: if the checkpoint cannot search, or the index or not one query can be read.
    """
    found = each_neighbour(
        checkpoint, queries, index, recipe,
        student=student, teacher=teacher, output=output,
        image_folder=image_folder, **options,
    )  # fmt: skip
    return list(found)


def each_neighbour(
    checkpoint: str | Path,
    queries: Sequence[str | Path],
    index: str | Path,
    recipe: str = "",
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    output: str | Path = "",
    image_folder: str | Path = "",
    **options: Any,
) -> Iterator[Record]:
    """Return what ``search`` finds one by one, each as soon as it is known."""
    page = Path(output) if output else None
    if page is not None:
        check_target(page)
    may_open = _opening(str(index), str(image_folder))
    if image_folder and page is None:
        raise FieldError("image_folder", "has no effect without output (--output).")
    objects = Objects(student=student, teacher=teacher)
    read, config, rest = checkpoint_with_recipe(
        str(checkpoint), recipe, objects, options | {"index": str(index)},
        lambda spec: _options_of(spec, checkpoint),
    )  # fmt: skip
    spec = task_of(config)
    assert spec.search is not None
    settings = options_from(spec.search_options, rest, spec.name)
    files = list_pictures([str(query) for query in queries])
    if not files:
        raise UserError("QUERY is required: pictures to find others like.")
    found = answered(resolve(spec.search)(config, read, files, settings, objects))
    if page is None:
        return found
    return _drawn(found, f"Pictures of {index} by similarity", page, may_open)


def _opening(index: str, image_folder: str) -> Callable[[str], bool]:
    """Whether a picture that an index names may be opened, which of a folder all may.

    Who wrote a file of embeddings may have named any file of this machine.
    """
    if image_folder:
        if not Path(image_folder).is_dir():
            raise FieldError("image_folder", f"is no folder: {shortened(image_folder, 200)}.")
        if not Path(index).is_file():
            raise FieldError("image_folder", "has no effect unless index is a file of embeddings.")
    elif not Path(index).is_file():
        return lambda name: True
    # Links count by what they lead to; in the folder that was asked for, also by their place.
    folders = [(os.curdir, False), (os.path.dirname(index) or os.curdir, False)]
    folders += [(image_folder, False), (image_folder, True)] if image_folder else []

    def is_inside(name: str) -> bool:
        place = os.path.abspath(name)
        return any(inside(folder, place, through_links=links) for folder, links in folders)

    return is_inside


def _options_of(spec: TaskSpec, checkpoint: str | Path) -> type:
    if spec.search is None:
        raise UserError(
            f"{shortened(checkpoint, 150)} is of the task {spec.name}, whose models cannot search; "
            "one of an embedding can."
        )
    return spec.search_options


def _drawn(
    records: Iterable[Record], title: str, page: Path, may_open: Callable[[str], bool]
) -> Iterator[Record]:
    """The records, which are drawn when all are there."""
    kept = []
    for record in records:
        kept.append(record)
        yield record
    write_neighbours(kept, title, page, may_open)

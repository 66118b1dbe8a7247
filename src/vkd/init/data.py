"""What a folder holds, and the tasks that it can be trained for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vkd.api.check import kind_of
from vkd.data.description import DataDescription
from vkd.errors import FieldError, UserError, nearest, shortened
from vkd.recipe import config_of
from vkd.tasks import TASKS
from vkd.training.drafting import Drafting
from vkd.training.spec import TaskSpec, resolve


@dataclass(frozen=True)
class Kind:
    """A task that data can be trained for.

    Attributes:
        task: its name.
        dataset: the kind of the data.
        description: what they hold.
        because: what other tasks found wrong with them; empty where none did.
        is_given: whether the user named the task.
    """

    task: str
    dataset: str
    description: DataDescription
    because: str = ""
    is_given: bool = False

    @property
    def pictures(self) -> int:
        """Pictures to train on."""
        return self.description.splits["train"].pictures

    @property
    def classes(self) -> list[str]:
        """Names of the classes or categories, where the data have any."""
        return list(self.description.splits["train"].counts)

    @property
    def largest(self) -> tuple[int, int] | None:
        """Largest (width, height) of the pictures that were looked at."""
        found = self.description.splits["train"].sizes.get("largest")
        return (found[0], found[1]) if found else None


def drafting_of(task: str) -> Drafting:
    """Return how recipes of a task are written.

    Raises:
        FieldError: for an unknown task, or one for which none are.
    """
    drafted = [name for name, spec in TASKS.items() if spec.draft is not None]
    spec = TASKS.get(task)
    if spec is None or spec.draft is None:
        raise FieldError(
            "task", f"must be one of {', '.join(drafted)}, found {task}{nearest(task, drafted)}"
        )
    return spec.draft


def kinds_of(data_path: str, task: str = "", **changes: Any) -> Iterator[Kind]:
    """Yield what a folder or file can be trained for, the likeliest first.

    Args:
        data_path: folder, file or name of the data.
        task: the only one to look at; empty for all.
        **changes: fields of where the data lie, such as ``dataset`` or ``image_folder``.

    Raises:
        UserError: if no task can read them; as the likeliest says it.
    """
    if task:
        drafting_of(task)
    given = str(changes.pop("dataset", ""))
    first, dataset = ("", given) if given else kind_of(Path(data_path))
    refused: list[UserError] = []
    is_found = False
    for name, spec in _candidates(first, dataset):
        if task and name != task:
            continue
        try:
            described = _described(spec, data_path, dataset, changes)
        except UserError as error:
            refused.append(error)
            continue
        is_found = True
        because = shortened(str(refused[0]).rstrip("."), 160) if refused else ""
        yield Kind(name, dataset, described, because, bool(task))
    if refused and not is_found:
        raise refused[0]
    if not is_found:
        kind = f"data of the kind {shortened(dataset, 80)}"
        if given and not task:
            raise FieldError("dataset", f": no task has a recipe for {kind}.")
        raise FieldError("task", f"{task} has no recipe for {kind}.")


def _candidates(first: str, dataset: str) -> list[tuple[str, TaskSpec]]:
    """Tasks that read a kind of data and for which recipes are written; ``first`` comes first."""
    found = [
        (name, spec)
        for name, spec in TASKS.items()
        if spec.draft is not None and spec.describe is not None and dataset in spec.datasets
    ]
    return sorted(found, key=lambda one: one[0] != first)


def _described(
    spec: TaskSpec, data_path: str, dataset: str, changes: Mapping[str, Any]
) -> DataDescription:
    assert spec.draft is not None
    assert spec.describe is not None
    names = {item.name for item in fields(spec.config)}
    unknown = [name for name in changes if name not in names]
    if unknown:
        raise FieldError(unknown[0], f"has no meaning for {spec.name}.")
    # Networks change nothing of what there is, but a recipe has them.
    pair = {"student": spec.draft.student, "teacher": spec.draft.teacher}
    values: dict[str, Any] = {"task": spec.name, "dataset": dataset, **pair}
    path = {"data_path": data_path} if data_path else {}
    found = resolve(spec.describe)(config_of({**values, **path, **changes}), 0)
    if "train" not in found.splits:
        raise FieldError("data_path", f": {shortened(data_path, 150)} has no training split.")
    return found

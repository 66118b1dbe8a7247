"""``vkd.check``."""

from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig
from vkd.data.description import DataDescription
from vkd.errors import FieldError, UserError, nearest
from vkd.places import check_new_file
from vkd.ranges import require_range
from vkd.recipe import as_config, config_of
from vkd.reporting.samples import write_samples
from vkd.tasks import TASKS, task_of
from vkd.training.spec import resolve

# Whose images show how a network sees data for which no recipe names one.
_STUDENT = {"classification": {"student": "deit_ti_distilled"}}

# Pictures of a split on one page.
_MOST_SAMPLES = 10_000


def check(
    data_path: str | Path = "",
    recipe: str | TrainingConfig = "",
    page: str | Path = "",
    samples: int = 12,
    **changes: Any,
) -> DataDescription:
    """Return what a data set holds, as training would read it, without training.

    Args:
        data_path: folder, file or name of the data; the recipe's when empty.
        recipe: name, YAML file or config; without one the kind of the data is found by its files.
        page: new HTML file of sample pictures as the network sees them; none when empty.
        samples: pictures of each split on the page.
        **changes: fields of the recipe to change, for example ``dataset``.

    Raises:
        UserError: if training would refuse the data, or the page is there already.
    """
    require_range("samples", samples, 1, _MOST_SAMPLES)
    target = Path(page) if page else None
    if target is not None:
        check_new_file(target, "output")
    if data_path:
        changes["data_path"] = str(data_path)
    config = as_config(recipe, changes) if recipe else _by_files(str(data_path), changes)
    spec = task_of(config)
    if spec.describe is None:
        raise UserError(f"Data of {spec.name} cannot be checked.")
    found = resolve(spec.describe)(config, samples if target is not None else 0)
    if target is not None:
        write_samples(found, f"{found.dataset} {data_path}".strip(), target)
    return found


def _by_files(data_path: str, changes: dict[str, Any]) -> TrainingConfig:
    """The config of a data set that is named, or whose kind its files show."""
    dataset = str(changes.get("dataset", ""))
    task = next((name for name, spec in TASKS.items() if dataset in spec.datasets), "")
    if dataset and not task:
        known = sorted({name for spec in TASKS.values() for name in spec.datasets})
        raise FieldError(
            "dataset",
            f"must be one of {', '.join(known)}, found {dataset!r}{nearest(dataset, known)}",
        )
    if not dataset:
        if not data_path:
            raise FieldError("data_path", "is required without a recipe: a folder or file of data.")
        task, dataset = kind_of(Path(data_path))
    return config_of({"task": task} | _STUDENT.get(task, {}) | changes | {"dataset": dataset})


def kind_of(path: Path) -> tuple[str, str]:
    """Return the task and the ``dataset`` that the files of a folder, or a file, look like.

    Folders of pictures that look like nothing else are those of classes.

    Raises:
        FieldError: if there is no such file, or several kinds could be meant.
    """
    if not path.exists():
        raise FieldError("data_path", f": there is no {path}.")
    found = {
        name: dataset
        for name, spec in TASKS.items()
        if spec.dataset_of is not None and (dataset := resolve(spec.dataset_of)(path)) is not None
    }
    if len(found) > 1:
        names = " or ".join(found.values())
        raise FieldError("dataset", f"is needed: the files of {path} look like {names}.")
    if found:
        return next(iter(found.items()))
    if not path.is_dir():
        raise FieldError(
            "data_path", f": {path} is no folder, CSV, TSV, Parquet or data.yaml file."
        )
    return "classification", "folder"

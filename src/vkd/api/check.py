"""``vkd.check``."""

from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig
from vkd.data.description import DataDescription
from vkd.errors import FieldError, UserError
from vkd.recipe import as_config, config_of
from vkd.reporting.samples import write_samples
from vkd.tasks import task_of
from vkd.training.spec import resolve

# Whose images show how a network sees data for which no recipe names one.
_STUDENT = {"classification": {"student": "deit_ti_distilled"}}


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
    target = Path(page) if page else None
    if target is not None and target.exists():
        raise FieldError("output", f": {target} exists already; name a new file.")
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
    """The config of a data set whose kind its files show."""
    if not data_path:
        raise FieldError("data_path", "is required without a recipe: a folder or file of data.")
    task, dataset = kind_of(Path(data_path))
    return config_of({"task": task, "dataset": dataset} | _STUDENT.get(task, {}) | changes)


def kind_of(path: Path) -> tuple[str, str]:
    """Return the task and the ``dataset`` that a folder's or file's names stand for."""
    if path.suffix.lower() in (".csv", ".tsv", ".parquet"):
        return "classification", "table"
    if not path.is_dir():
        raise FieldError("data_path", f"{path} is no folder, CSV, TSV or Parquet file.")

    def holds(*patterns: str) -> bool:
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)

    if holds("annotations/*.json", "*/_annotations.coco.json"):
        return "detection", "coco"
    if holds("*.tar", "*/*.tar"):
        return "classification", "wds"
    if holds("*.parquet", "*/*.parquet", "dataset_dict.json", "dataset_info.json"):
        return "classification", "hfds"
    if holds("*.csv", "*.tsv"):
        return "classification", "table"
    return "classification", "folder"

"""``vkd.cache``."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from vkd.api.networks import check_networks, with_runs_resolved
from vkd.api.train import objects_and_names, with_networks
from vkd.config import DistillationConfig, LabelledImagesConfig, TrainingConfig
from vkd.errors import FieldError, UserError
from vkd.recipe import as_config
from vkd.store.description import DESCRIPTION_FILE, StoreOptions
from vkd.store.filling import StoreFiller
from vkd.tasks import task_of
from vkd.training.accelerator import make_accelerator
from vkd.training.lock import locked
from vkd.training.processes import require_shared
from vkd.training.spec import resolve


def cache(
    recipe: str | TrainingConfig,
    folder: str | Path,
    *,
    views: int = 0,
    dtype: str = "float16",
    top_k: int = 0,
    show: bool = True,
    teacher: Any = None,
    data: Any = None,
    **changes: Any,
) -> dict[str, float]:
    """Run a recipe's teacher once over its training images and store the outputs.

    A teacher that has a recipe but no checkpoint is trained first, in the folder ``teacher``. A
    store that is not complete is completed.

    Args:
        recipe: name, YAML file, or config.
        folder: of the store.
        views: augmented views of each image; 0 for one, where no augmentation is random.
        dtype: of the features: float16, float32, or int8 with a scale for each row, and float16
            for logits.
        top_k: logits to keep of each row, the largest; the probability of the others is spread
            evenly over them. 0 for all.
        show: print rows, sizes, hours and progress.
        teacher: your own network in place of the recipe's, or the name of another.
        data: your own splits, see ``vkd.splits_of``.
        **changes: fields of the recipe to change.

    Returns:
        Sizes of the store, and the probability that ``top_k`` keeps; see
        ``vkd.store.filling.StoreFiller.fill``.

    Raises:
        UserError: if the recipe has no teacher, or one that no store can replace; or the folder is
            taken.
        RunError: if the outputs do not fit the disk or the dtype.
    """
    objects, named = objects_and_names(teacher=teacher, data=data)
    config, folder = with_runs_resolved(as_config(recipe, changes | named)), Path(folder)
    spec = task_of(config)
    if spec.cache is None:
        reason = spec.no_cache or "the task has no store"
        raise UserError(f"Teachers of {spec.name} cannot be stored: {reason}.")
    options = StoreOptions(views=views, dtype=dtype, top_k=top_k)
    if not (isinstance(config, DistillationConfig) and config.needs_teacher):
        raise FieldError("feature_weight", "and every other weight of a teacher is 0.")
    replace(config, teacher_store=str(folder))  # type: ignore[call-arg]
    check_networks(config)
    accelerator = make_accelerator(config)
    with locked(folder) if accelerator.is_main_process else nullcontext():
        with accelerator.main_process_first():
            require_shared(folder / DESCRIPTION_FILE, accelerator)
            filler = StoreFiller(resolve(spec.cache)(config, objects), folder, options)
        ready = cast(LabelledImagesConfig, with_networks(config, folder, show))
        return filler.fill(ready, accelerator, show)

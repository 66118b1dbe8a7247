"""The tasks by name. A new one is a folder, and a line here or a call of ``register_task``."""

from vkd.classification.spec import CLASSIFICATION
from vkd.config import TrainingConfig
from vkd.detection.spec import DETECTION
from vkd.embedding.spec import EMBEDDING
from vkd.errors import UserError
from vkd.generation.spec import GENERATION
from vkd.training.spec import Metric, TaskSpec, resolve

TASKS: dict[str, TaskSpec] = {
    spec.name: spec for spec in (CLASSIFICATION, DETECTION, GENERATION, EMBEDDING)
}


def register_task(spec: TaskSpec) -> None:
    """Add a task from outside the package.

    Raises:
        UserError: if another task has its name.
    """
    if TASKS.get(spec.name, spec) != spec:
        raise UserError(f"There is a task {spec.name!r} already; give yours another name.")
    TASKS[spec.name] = spec


def task_of(config: TrainingConfig) -> TaskSpec:
    """Return the task that a recipe belongs to."""
    return TASKS[config.task]


def metric_of(config: TrainingConfig) -> Metric:
    """Return the metric that models of a recipe are compared by.

    Raises:
        UserError: if its task names none.
    """
    metric = task_of(config).metric
    if metric is None:
        raise UserError(f"The task {config.task} names no metric to compare models by.")
    return metric if isinstance(metric, Metric) else metric(config)


def check_method(config: TrainingConfig) -> None:
    """Raise ``UserError`` for a method that a recipe's task cannot serve."""
    check = task_of(config).check
    if check is not None:
        resolve(check)(config)

"""What a task hands over: one frozen bundle, registered by name.

Imports no torch: what needs it is named and imported when it is first used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from vkd.config import TrainingConfig
from vkd.training.drafting import Drafting

Reference = str | Callable[..., Any]


@dataclass(frozen=True)
class NoOptions:
    """A step of a task that has no options of its own."""


@dataclass(frozen=True)
class Metric:
    """The metric that models of a task are compared by.

    Attributes:
        name: among the metrics of the task.
        unit: of its values, for example %.
        lower_is_better: whether a smaller value is the better one.
    """

    name: str
    unit: str = ""
    lower_is_better: bool = False

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task: its recipe's fields, and what trains, evaluates and uses its models.

    The steps are given as functions or as ``module:name``, which is imported when first used.

    Attributes:
        name: the recipes' ``task``.
        config: the recipes' fields.
        task: ``(config, objects) -> Task``, what the trainer trains.
        evaluate: ``(config, checkpoint, accelerator, options, objects) -> metrics`` on the test
            split.
        predict: ``(config, checkpoint, inputs, options, objects) -> records``; None if it cannot.
        search: ``(config, checkpoint, queries, options, objects) -> records`` of the pictures that
            are nearest to others; None if it cannot.
        export: ``(config, checkpoint, size, objects) -> Exported``, or as a tuple.
        network: ``(config, checkpoint, objects) -> nn.Module``, the network of a checkpoint; None
            where its name and weights tell all.
        pictures: ``(config) -> (split, count) -> pictures`` of the recipe's data, to try exported
            files on; None where its models take none.
        cache: ``(config, objects) -> Subject`` of ``vkd.store.filling``; None where teachers cannot
            be stored.
        no_cache: why they cannot, the end of a sentence.
        datasets: its data sets by name.
        dataset_of: ``(path) -> name`` of the data set that the files of a folder or file look like;
            None where they look like none.
        describe: ``(config, samples) -> DataDescription`` of the data, with so many sample pictures
            of each split; None where data cannot be described.
        check: ``(config) -> None``, refuses a method that the task cannot serve, before anything
            is trained or loaded.
        metric: what models are compared by, or ``(config) -> Metric`` where it depends on the
            recipe; None where they cannot be compared.
        draft: how `vkd init` writes its recipes; None where it does not.
        pipeline_tag: what its models do, as the hub of Hugging Face names it; empty where it has no
            name for it.
        evaluate_options, predict_options, search_options: dataclasses of the steps' own options;
            their fields are flags, their docstrings' ``Attributes`` the help.
    """

    name: str
    config: type[TrainingConfig]
    task: Reference
    evaluate: Reference
    predict: Reference | None = None
    search: Reference | None = None
    export: Reference | None = None
    network: Reference | None = None
    pictures: Reference | None = None
    cache: Reference | None = None
    no_cache: str = ""
    datasets: Mapping[str, Any] = field(default_factory=dict)
    dataset_of: Reference | None = None
    describe: Reference | None = None
    check: Reference | None = None
    metric: Metric | Callable[[Any], Metric] | None = None
    draft: Drafting | None = None
    pipeline_tag: str = ""
    evaluate_options: type = NoOptions
    predict_options: type = NoOptions
    search_options: type = NoOptions


def resolve(reference: Reference) -> Callable[..., Any]:
    """Return the function or class that a reference names."""
    return resolve_name(reference) if isinstance(reference, str) else reference

"""What the card of a model tells, and where in a recipe it stands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from vkd.config import DistillationConfig, TrainingConfig
from vkd.reporting.privacy import without_paths


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What only its maker can say of a model. Of what is empty the card says that it is unknown.

    Attributes:
        license: of the model, as the hub names licences, for example apache-2.0.
        teacher_license: of the teacher's weights.
        data_license: of the training data.
        datasets: names on the hub of the training data.
        base_model: name on the hub of the weights that the student started from.
    """

    license: str = ""
    teacher_license: str = ""
    data_license: str = ""
    datasets: Sequence[str] = ()
    base_model: str = ""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a card tells.

    Attributes:
        title: the model's name for people.
        config: the recipe; None where it is not known.
        loading: Python that makes ``model``, by what loads it.
        commands: of the shell, that use the weights.
        metrics: on the validation split; empty where they are not known.
        labels: of metrics for people, with units, where they differ from the names.
        cost: ``parameters``, and ``macs`` where they were counted.
        versions: of what it was trained with, by name.
        library: that loads it.
        pipeline_tag: what it does, as the hub names tasks; empty where it has no name for it.
        statement: of the maker.
    """

    title: str
    config: TrainingConfig | None
    loading: Mapping[str, str]
    commands: Sequence[str] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    library: str = "vkd"
    pipeline_tag: str = ""
    statement: Statement = Statement()


def dataset_of(config: TrainingConfig) -> str:
    """Return the name of the data set of a recipe, for people."""
    if "data" in config.objects:
        return "data given in Python"
    return str(asdict(config).get("dataset") or "data of its maker")


def teachers_of(config: TrainingConfig) -> list[str]:
    """Return the names of the teachers that a recipe's losses compare with, without paths."""
    if not (isinstance(config, DistillationConfig) and config.needs_teacher):
        return []
    names = config.model_names() | config.objects
    # Of several each has a role with its number.
    of_teachers = [
        name for role, name in names.items() if role.split("[")[0] in ("teacher", "teachers")
    ]
    return [str(without_paths({"name": name})[0]["name"]) for name in of_teachers]


def method_of(config: DistillationConfig) -> str:
    """Return the method that acted; beside logits alone that of features does not."""
    is_idle = config.method == "vkd" and not config.feature_weight
    return "kd" if is_idle else config.method


def is_of_vkd(config: TrainingConfig | None) -> bool:
    """Return whether a model was distilled by the paper's method."""
    if not (isinstance(config, DistillationConfig) and config.needs_teacher):
        return False
    return method_of(config) == "vkd"

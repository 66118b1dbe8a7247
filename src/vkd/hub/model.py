"""A model to publish: network, metadata, recipe and metrics, read from where it is."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import timm
from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe
from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError, shortened
from vkd.inputs import format_of, inputs_of
from vkd.models.checkpoints import Checkpoint, load_checkpoint, read_checkpoint
from vkd.models.factory import create_model, our_models
from vkd.models.sources.catalogue import resolved
from vkd.models.sources.source import CONFIG
from vkd.network_names import is_code
from vkd.reporting.privacy import without_paths
from vkd.tasks import task_of
from vkd.training.records import read_metrics
from vkd.training.spec import NoOptions, resolve
from vkd.training.task import NamesOptions, Objects
from vkd.versions import versions


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network with all that is known of it.

    Attributes:
        network: in eval mode.
        architecture: the name that builds it, or of its class where none does.
        metadata: of the weights file, without paths of this machine.
        config: the recipe; None where it is not known.
        cut: fields of the recipe whose paths are cut to their last names.
        metrics: on the validation split, by these weights; empty where they are not known.
        run: the run folder; None where there is none.
    """

    network: nn.Module
    architecture: str
    metadata: Mapping[str, str]
    config: TrainingConfig | None = None
    cut: list[str] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    run: Path | None = None

    @property
    def timm_name(self) -> str:
        """The name by which timm builds the network; empty where it cannot."""
        name = inputs_of(self.network).get("architecture") or ""
        return name if timm.is_model(name) else ""

    @property
    def needs_ours(self) -> bool:
        """Whether timm builds it only after ``import vkd.models``."""
        return self.timm_name in our_models()


def model_of_checkpoint(source: str | Path, recipe: str, student: str | nn.Module | None) -> Model:
    """Return the model of a run folder or weights file.

    Args:
        source: the folder or file.
        recipe: name or file, where the checkpoint does not name its own.
        student: your own network, where the run was trained with one; or the name of one that a
            file of Python builds.

    Raises:
        UserError: if it is none, or does not say which network it is of.
    """
    read = read_checkpoint(source)
    given, named = (None, student) if isinstance(student, str) else (student, "")
    config, objects = None, Objects(student=given)
    if recipe or read.recipe:
        changes = {"student": named} if named else {}
        _, config, _ = checkpoint_with_recipe(
            read, recipe, objects, changes, lambda spec: NoOptions
        )
    name = objects.given().get("student") or _name(read, config, named)
    network = _network(read, config, objects, name)
    architecture = name if given else _shown(resolved(name, None)[0])
    fields, cut = without_paths(asdict(config)) if config else ({}, [])
    if config and not given:
        fields["student"] = architecture
    run = Path(source) if (Path(source) / "recipe.yaml").is_file() else None
    return Model(
        network=network.eval(),
        architecture=architecture,
        metadata=_metadata(read, architecture, fields),
        config=config,
        cut=cut,
        metrics=_metrics(run, read) if run else {},
        run=run,
    )


def model_of_network(network: nn.Module, architecture: str) -> Model:
    """Return the model of a network.

    Args:
        network: any.
        architecture: the name that builds it; that of timm's configuration where it is empty.

    Raises:
        FieldError: if its name is neither given nor known.
    """
    name = architecture or inputs_of(network).get("architecture") or ""
    if not name:
        raise FieldError(
            "architecture",
            f"must be the name that builds the network ({type(network).__name__}), which does not "
            "tell it.",
        )
    metadata = {"architecture": _shown(name), "versions": json.dumps(versions())}
    if isinstance(network, NamesOptions):
        metadata["options"] = _shown_options(network.build_options)
    if inputs := format_of(network):
        metadata["inputs"] = json.dumps(inputs.as_dict())
    # A copy, as that of the caller may be in training.
    return Model(network=deepcopy(network).eval(), architecture=_shown(name), metadata=metadata)


def _network(
    read: Checkpoint, config: TrainingConfig | None, objects: Objects, name: str
) -> nn.Module:
    build = task_of(config).network if config else None
    if build is not None:
        return resolve(build)(config, read, objects)
    if objects.student is not None:
        return load_checkpoint(objects.student, read)
    return create_model(name, read)


def _name(read: Checkpoint, config: TrainingConfig | None, named: str) -> str:
    """The name that builds the network of a checkpoint."""
    of_recipe = config.model_names().get("student", "") if config else ""
    name = of_recipe or named or read.model_name or read.architecture
    file = shortened(read.file, 120)
    if not name:
        raise UserError(
            f"{file} does not say which network its weights are of; give recipe (--recipe), a "
            "name or a file."
        )
    if is_code(name) and name != named and config is None:
        raise FieldError(
            "student",
            f"is {name[:80]} by {file}, a file of Python, which runs only where you name it.",
        )
    return name


def _metadata(read: Checkpoint, architecture: str, recipe: dict[str, Any]) -> dict[str, str]:
    """What a weights file says of itself, without places of this machine."""
    found = dict(read.metadata) | {"architecture": architecture}
    if recipe:
        found["recipe"] = json.dumps(recipe)
    if read.options:
        found["options"] = _shown_options(read.options)
    return found


def _shown_options(options: Mapping[str, Any]) -> str:
    """Options as JSON, without the folder that a config of Hugging Face was read from."""
    found = dict(options)
    if CONFIG in found:
        values = json.loads(found[CONFIG])
        values["_name_or_path"] = ""
        found[CONFIG] = json.dumps(values)
    return json.dumps(found)


def _shown(name: str) -> str:
    return str(without_paths({"name": name})[0]["name"])


def _metrics(run: Path, weights: Checkpoint) -> dict[str, float]:
    """Those of the epoch that the weights of a run are of, which the file says."""
    if not (run / "metrics.jsonl").is_file():
        return {}
    records = read_metrics(run)
    last = max((record["epoch"] for record in records), default=0)
    said = weights.metadata.get("epoch", "")
    epoch = int(said) if said.isdecimal() else last
    found = (record.get("validation", {}) for record in records if record["epoch"] == epoch)
    return next(found, {})

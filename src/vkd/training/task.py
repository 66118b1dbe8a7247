"""What a task supplies to the trainer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vkd.precision import HasPrecision
from vkd.training.findings import Finding
from vkd.training.similarities import Similarities

Predict = Callable[..., Any]


@runtime_checkable
class NamesUndecayed(Protocol):
    """A network that names parameters which weight decay must spare, as timm's do."""

    def no_weight_decay(self) -> set[str]: ...


@runtime_checkable
class NamesOptions(Protocol):
    """A network that says with which keyword arguments ``create_model`` builds it again.

    Attributes:
        build_options: as JSON knows them; they become the weights file's ``options``.
    """

    build_options: Mapping[str, Any]


class TrainingModule(nn.Module):
    """Networks with their losses: what one optimiser trains.

    Called with a batch it returns its weighted loss terms by name. Called with ``predict=True`` it
    runs the deployed network, through the same wrapper, which gathers weights where they are
    sharded.

    Attributes:
        deployed: name of the submodule that is evaluated and saved.
    """

    deployed: ClassVar[str] = "student"

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the weighted loss terms of a training batch by name, each a scalar."""
        raise NotImplementedError

    def measures(self) -> dict[str, Tensor]:
        """Return what the last call of ``losses`` found beside its terms: scalars by name.

        Their means over an epoch are in ``measures`` of its record, beside the mean rate that
        acted; none by default.
        """
        return {}

    def explained(self) -> dict[str, Tensor]:
        """Return what the student explains of its teacher: by feature loss, the share of the
        target's variance in the last batch; see ``vkd.methods.method.Method.explained``.

        None by default.
        """
        return {}

    def predict(self, *inputs: Any) -> Any:
        """Return the deployed network's output for ``inputs``."""
        return self.get_submodule(self.deployed)(*inputs)

    def forward(self, *inputs: Any, predict: bool = False) -> Any:
        """Return ``losses`` of a batch, or ``predict`` of inputs."""
        return self.predict(*inputs) if predict else self.losses(*inputs)

    def undecayed(self) -> set[str]:
        """Return the names of parameters that weight decay spares, beside biases and norms.

        By default those that the deployed network names.
        """
        return self.undecayed_in(self.deployed)

    def never_decayed(self) -> set[str]:
        """Return the names of parameters that weight decay spares even where it is on all."""
        return set()

    def undecayed_in(self, *parts: str) -> set[str]:
        """Return the parameters that the networks ``parts`` name as undecayed, by full name."""
        names: set[str] = set()
        for part in parts:
            module = self.get_submodule(part)
            if isinstance(module, NamesUndecayed):
                names |= {f"{part}.{name}" for name in module.no_weight_decay()}
        return names

    def parameters_in(self, *parts: str) -> set[str]:
        """Return the names of all parameters of the submodules ``parts``."""
        return {
            f"{part}.{name}"
            for part in parts
            for name, _ in self.get_submodule(part).named_parameters()
        }

    def lr_scale(self, name: str) -> float:
        """Return the share of the learning rate that the parameter ``name`` gets."""
        return 1.0

    def state_of(self, part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the part of this module's whole ``state`` that belongs to a submodule.

        Raises:
            AttributeError: if there is no such submodule.
        """
        own = self.get_submodule(part).state_dict()
        return {name: state[f"{part}.{name}"] for name in own}


@dataclass
class OptimizerStep:
    """A module with an optimiser of its own, which steps once in ``every`` updates."""

    module: TrainingModule
    every: int = 1


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What is given as Python objects, and so takes the place of names in a recipe.

    Attributes:
        student: the network to train.
        teacher: a network, or anything with the interface of ``vkd.teacher.Teacher``.
        loss: makes the method of the sizes that a task has, for example a subclass of
            ``vkd.methods.method.Method``.
        data: the splits, as the task's reader returns them.
    """

    student: nn.Module | None = None
    teacher: Any = None
    loss: Callable[..., nn.Module] | None = None
    data: Any = None

    def given(self) -> dict[str, str]:
        """Return the names of the types of what is given, by role."""
        roles = {
            "student": self.student,
            "teacher": self.teacher,
            "loss": self.loss,
            "data": self.data,
        }
        return {
            role: value.__name__ if isinstance(value, type) else type(value).__name__
            for role, value in roles.items()
            if value is not None
        }


class Exported(NamedTuple):
    """What a task exports of a checkpoint.

    Attributes:
        module: maps tensors to tensors.
        inputs: examples of its inputs by name, two samples each.
        outputs: names of its outputs.
        metadata: what using it needs to know, by the entries of ``Task.metadata``.
        prepare: makes inputs of pictures; None where ``images`` alone are taken, in the format that
            ``metadata`` has as ``inputs``.
        no_int8: why it cannot be quantised to 8 bits, the end of a sentence; empty where it can.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    metadata: Mapping[str, str] = MappingProxyType({})
    prepare: Callable[[Sequence[Image.Image]], dict[str, Tensor]] | None = None
    no_int8: str = ""


class Evaluated(NamedTuple):
    """A model as it is evaluated.

    Attributes:
        predict: runs it, in eval mode, on inputs; under averaging the averaged one.
        network: what ``predict`` runs, to tap its layers.
        accelerator: of the processes.
    """

    predict: Predict
    network: nn.Module
    accelerator: Accelerator


class Task(ABC):
    """Networks with their data, losses and metrics.

    Attributes:
        steps: what is trained, each by an optimiser of its own; for most tasks one. The deployed
            network of the first is the model that is evaluated and saved.
        metric: the name of the metric to show.
    """

    metric: str
    steps: list[OptimizerStep]

    @property
    def model(self) -> nn.Module:
        """The network that is evaluated and saved."""
        module = self.steps[0].module
        return module.get_submodule(module.deployed)

    @abstractmethod
    def cost(self) -> dict[str, float]:
        """Return ``parameters`` and multiply-adds (``macs``) of the model."""

    @abstractmethod
    def train_loader(self) -> DataLoader:
        """Return batches to train on, shuffled, without an incomplete last one."""

    @abstractmethod
    def validation_loader(self) -> DataLoader:
        """Return batches to evaluate on during training."""

    @abstractmethod
    def evaluate(
        self, predict: Predict, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return metrics of the model, each sample counted once on any number of processes.

        Args:
            predict: runs the model, in eval mode, on inputs; under averaging the averaged one.
            batches: of ``validation_loader``, spread over the processes.
            accelerator: of the processes.
        """

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """Return the metadata of the weights file, beside recipe, versions and the model's name.

        By entry: ``classes``, a JSON list of names; ``categories``, JSON with ids and names;
        ``inputs``, JSON with mean, std and sizes; others of the task's own.
        """

    def extra_tensors(self, states: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return tensors to save beside the weights, by file name, from each step's state."""
        return {}

    def take_projections(self, projections: Mapping[str, Tensor]) -> dict[str, str]:
        """Take over the projections of a checkpoint of the paper's release, where losses have such.

        Args:
            projections: as ``vkd.models.checkpoints.Checkpoint`` has them.

        Returns:
            What was taken, each with the name of the first module's parameter.
        """
        return {}

    def step_teacher(self) -> HasPrecision | None:
        """Return the frozen network that runs in every step, to choose its arithmetic.

        None where there is none, or what was given as an object decides for itself.
        """
        return None

    def sources(self) -> dict[str, str]:
        """Return digests of what is trained on, by the field that says where it lies.

        A run that is resumed may find it in another place, but not changed.
        """
        return {}

    def sample_image(self, predict: Predict, device: torch.device) -> Image.Image | None:
        """Return a picture of what the model does, for the report."""
        return None

    def sample_ids(self, batch: Any) -> Tensor | None:
        """Return numbers (N,) that tell the samples of a training batch, as they are there.

        Asked at every step, which must not wait; None where batches do not tell.
        """
        return None

    def sample_names(self, ids: Sequence[int]) -> list[str]:
        """Return the names of samples by ``sample_ids``, files where there are any."""
        return [str(number) for number in ids]

    def similarities(self, model: Evaluated) -> Similarities:
        """Return how like the student's features are to the teacher's.

        Asked before the first and after the last step, on every process, each of which looks at
        the same few samples.
        """
        return Similarities(reason="this task compares no features")

    def findings(self, model: Evaluated) -> list[Finding]:
        """Return what the report shows beside metrics, after the last evaluation: few and small.

        Asked on every process. What could not be found is a ``vkd.training.findings.Absent``.
        """
        return []

    def reading_advice(self) -> list[str]:
        """Return what in the recipe would make its data come faster, with flags; for a hint."""
        return []

    def check_health(self, terms: dict[str, float], metrics: dict[str, float]) -> str:
        """Return what is wrong with an epoch's mean loss ``terms`` and ``metrics``; or nothing."""
        return ""

    def progress(self) -> dict[str, float]:
        """Return what ``check_health`` remembers, to be saved with a run's state."""
        return {}

    def resume(self, progress: dict[str, float]) -> None:  # noqa: B027
        """Take back what ``progress`` returned."""

"""What the trainer asks of a task."""

from typing import Protocol

from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Task(Protocol):
    """A model with its data, losses and metrics.

    Attributes:
        module: called with a batch, returns the weighted loss terms by name; called with images
            alone, what ``model`` says of them; holds all that is trained. Where it has them,
            ``no_weight_decay()`` gives names of parameters that are not decayed, and
            ``lr_scale(name)`` the share of the learning rate that a parameter gets.
        model: the part of ``module`` that is evaluated and deployed.
        metric: the name of the metric to show.
    """

    metric: str

    @property
    def module(self) -> nn.Module: ...

    @property
    def model(self) -> nn.Module: ...

    def facts(self) -> dict[str, float]:
        """Sizes of the model, such as ``parameters``."""
        ...

    def train_loader(self) -> DataLoader:
        """Batches to train on, shuffled, without an incomplete last one."""
        ...

    def validation_loader(self) -> DataLoader:
        """Batches to evaluate on during training."""
        ...

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Metrics of ``model``, each sample counted once on any number of processes."""
        ...

    def metadata(self) -> dict[str, str]:
        """What the weights file says of itself, beside the recipe."""
        ...

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Tensors of the module's ``state`` to save beside the weights, by file name."""
        ...

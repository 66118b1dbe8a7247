"""What the trainer asks of a task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader


@dataclass
class Turn:
    """A module with an optimiser of its own, which steps ``every`` so many updates.

    Called with a batch, ``module`` returns its weighted loss terms by name. Where it has them,
    ``no_weight_decay()`` gives names of parameters that are not decayed, and ``lr_scale(name)``
    the share of the learning rate that a parameter gets.
    """

    module: nn.Module
    every: int = 1


class Task(ABC):
    """Models with their data, losses and metrics.

    Attributes:
        turns: what is trained; of most tasks one. The first one's module, called with what
            ``model`` takes instead of a batch, returns what ``model`` says.
        model: the part of the first turn's module that is evaluated and deployed.
        metric: the name of the metric to show.
    """

    metric: str
    turns: list[Turn]
    model: nn.Module

    @abstractmethod
    def facts(self) -> dict[str, float]:
        """Sizes of the model, such as ``parameters``."""

    @abstractmethod
    def train_loader(self) -> DataLoader:
        """Batches to train on, shuffled, without an incomplete last one."""

    @abstractmethod
    def validation_loader(self) -> DataLoader:
        """Batches to evaluate on during training."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Metrics of ``model``, each sample counted once on any number of processes."""

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """What the weights file says of itself, beside the recipe."""

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Tensors of the modules' ``state`` to save beside the weights, by file name."""
        return {}

    def illustrate(self, model: nn.Module, device: torch.device) -> Image.Image | None:
        """A picture of what ``model`` does, to be kept for the report."""
        return None

    def diagnose(self, terms: dict[str, float], metrics: dict[str, float]) -> str:
        """What is wrong with an epoch's mean loss ``terms`` and ``metrics``, if anything is."""
        return ""

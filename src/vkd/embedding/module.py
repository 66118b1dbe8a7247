"""A student with the losses of its features."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from vkd.data.batch_augmentation import BatchAugmentation
from vkd.distiller import Distiller
from vkd.embedding.distillation import MethodLoss
from vkd.methods.method import explained_by
from vkd.training.task import TrainingModule

# Images, or ``Drawn`` where they are augmented on the device, labels that are not read, indices.
Batch = tuple[Any, Tensor, Tensor]


class EmbeddingModule(TrainingModule):
    """A student that learns features.

    Args:
        student: the network to train.
        distiller: compares it with its teachers; None to leave the student as it is.
        weight: of the loss.
        augmentation: finishes the images of a batch; None where they come finished.
        channels_last: keep images and convolutions with channels last in memory.
        compiled: compile the student.
    """

    def __init__(
        self,
        student: nn.Module,
        distiller: Distiller | None,
        weight: float,
        augmentation: BatchAugmentation | None = None,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.student, self.weight, self.augmentation = student, weight, augmentation
        self.channels_last = channels_last
        # Not as a submodule, in which the student would be a second time.
        self._distiller = (distiller,)
        self.loss = nn.ModuleDict() if distiller is None else distiller.loss
        if channels_last:
            student.to(memory_format=torch.channels_last)
        if compiled:
            student.compile()

    @property
    def distiller(self) -> Distiller | None:
        """What compares student and teachers; None where nothing does."""
        return self._distiller[0]

    def undecayed(self) -> set[str]:
        """Return the methods' parameters, and those the student names; all where none learns."""
        if self.distiller is None:
            return self.parameters_in("student")
        return self.parameters_in("loss") | super().undecayed()

    def never_decayed(self) -> set[str]:
        """Return all parameters where none learns, so that they stay as they are."""
        return self.parameters_in("student") if self.distiller is None else set()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss of a batch; one without effect where nothing learns."""
        images, _, indices = batch
        if self.distiller is None:
            return {"feature": _without_effect(self.student)}
        if self.augmentation is not None:
            images = self.augmentation(images)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        for loss in self.distiller.losses.values():
            cast(MethodLoss, loss).indices = indices
        return {"feature": self.weight * self.distiller(images, indices).loss}

    def explained(self) -> dict[str, Tensor]:
        """Return what the methods explain, by pair of layers; see ``TrainingModule``."""
        if self.distiller is None:
            return {}
        losses = self.distiller.losses
        methods = {name: cast(MethodLoss, loss).method for name, loss in losses.items()}
        names = methods if len(methods) > 1 else ["feature"]
        return explained_by(dict(zip(names, methods.values(), strict=True)))


def _without_effect(student: nn.Module) -> Tensor:
    """Zero, with gradients of zero for all that could learn."""
    parts = [p.sum() for p in student.parameters() if p.requires_grad]
    return 0 * torch.stack(parts).sum()

"""What stores of a discriminator's teacher hold."""

import torch
from torch import Tensor, nn

from vkd.generation.config import GenerationConfig
from vkd.generation.data import GenerationSplits, read_splits
from vkd.generation.teachers import network_teacher, store_contents
from vkd.models.biggan import SIDE
from vkd.store.description import StoreDescription
from vkd.teacher import Teacher
from vkd.training.task import Objects


class DiscriminatorSubject:
    """The teacher of a discriminator and its real images; see ``Subject``.

    Args:
        config: the recipe.
        objects: teacher and data, where they are given as objects.
    """

    def __init__(self, config: GenerationConfig, objects: Objects) -> None:
        self.objects = objects
        self.splits: GenerationSplits = objects.data or read_splits(config)
        self.contents = store_contents(config, self.splits)
        self.is_constant = not config.flip and objects.data is None
        self.shape = (self.splits.channels, SIDE, SIDE)

    def teacher(self, config: GenerationConfig) -> tuple[Teacher, nn.Module]:
        """Return the teacher and its network.

        Raises:
            UserError: if it is not there, or does not suit the images.
        """
        teacher = network_teacher(config, self.splits, self.objects.teacher)
        return teacher, teacher.model

    def seen(
        self, images: Tensor, rows: Tensor, description: StoreDescription, device: torch.device
    ) -> Tensor:
        """Return the images as they are."""
        return images.to(device)

"""The teacher of a discriminator: a network, or its stored outputs."""

from torch import nn

from vkd.errors import as_user_error
from vkd.generation.config import GenerationConfig
from vkd.generation.data import GenerationSplits
from vkd.generation.extractors import frozen_network
from vkd.precision import STATED
from vkd.store.fitting import Contents
from vkd.teacher import NetworkTeacher

# What decides which images a teacher sees, and its outputs for them.
_DECISIVE = (
    "dataset", "fraction", "subset_seed", "flip", "teacher", "teacher_layer", "teacher_pool",
)  # fmt: skip


def network_teacher(
    config: GenerationConfig, splits: GenerationSplits, network: nn.Module | None = None
) -> NetworkTeacher:
    """Return the recipe's teacher.

    Args:
        config: the recipe.
        splits: its images.
        network: the teacher, where it is given as an object.

    Raises:
        UserError: for an unknown name, checkpoint or layer.
    """
    with as_user_error("teacher_layer"):
        teacher = frozen_network(
            config.teacher,
            config.teacher_checkpoint,
            splits.channels,
            config.teacher_layer,
            config.teacher_pool,
            network,
        )
    teacher.precision = STATED[config.teacher_precision]
    return teacher


def store_contents(config: GenerationConfig, splits: GenerationSplits) -> Contents:
    """Return what a store for a recipe holds: features of real images, before any whitening."""
    return Contents(config, splits, _DECISIVE)

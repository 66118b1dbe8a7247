"""The fields of a recipe, which are also the flags of ``vkd train``.

Imports nothing heavy, so that the command line can check flags before it loads torch.
"""

from vkd.config.distillation import (
    Distance,
    DistillationConfig,
    LabelledImagesConfig,
    Normalization,
    Projection,
)
from vkd.config.fields import field_groups, field_texts, write_recipe
from vkd.config.training import LARGEST_SEED, FrozenNetwork, TrainingConfig, default_values

__all__ = [
    "LARGEST_SEED",
    "Distance",
    "DistillationConfig",
    "FrozenNetwork",
    "LabelledImagesConfig",
    "Normalization",
    "Projection",
    "TrainingConfig",
    "default_values",
    "field_groups",
    "field_texts",
    "write_recipe",
]

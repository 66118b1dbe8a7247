"""Image generation: a GAN alone, or whose discriminator is taught by a frozen vision network."""

from vkd.tasks.generation.inference import exported, predict
from vkd.tasks.generation.task import GenerationTask, evaluate

make_task = GenerationTask
__all__ = ["GenerationTask", "evaluate", "exported", "make_task", "predict"]

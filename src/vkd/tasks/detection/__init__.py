"""Object detection: a ViDT alone, or taught by the tokens of a larger one."""

from vkd.tasks.detection.inference import exported, predict
from vkd.tasks.detection.task import DetectionTask, evaluate

make_task = DetectionTask
__all__ = ["DetectionTask", "evaluate", "exported", "make_task", "predict"]

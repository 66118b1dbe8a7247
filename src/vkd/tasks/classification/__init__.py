"""Image classification: a student alone, or taught by logits, features or both."""

from vkd.tasks.classification.cache import TeacherCache
from vkd.tasks.classification.inference import exported, predict
from vkd.tasks.classification.task import ClassificationTask, evaluate

make_task = ClassificationTask
__all__ = ["ClassificationTask", "TeacherCache", "evaluate", "exported", "make_task", "predict"]

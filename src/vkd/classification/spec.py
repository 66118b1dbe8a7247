"""Classification as it is registered."""

from vkd.classification.config import ClassificationConfig
from vkd.training.spec import Metric, TaskSpec

CLASSIFICATION = TaskSpec(
    name="classification",
    config=ClassificationConfig,
    task="vkd.classification.task:ClassificationTask",
    evaluate="vkd.classification.inference:evaluate",
    predict="vkd.classification.inference:predict",
    export="vkd.classification.inference:export_inputs",
    cache="vkd.classification.cache:StoreFiller",
    check="vkd.classification.distillation:check_methods",
    metric=Metric("accuracy", "%"),
)

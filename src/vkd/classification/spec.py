"""Classification as it is registered."""

from collections import ChainMap
from dataclasses import dataclass

from vkd.classification.config import ClassificationConfig
from vkd.data.catalogue import PHOTOGRAPHS, SMALL
from vkd.training.spec import Metric, TaskSpec


@dataclass(frozen=True, kw_only=True)
class ClassificationPrediction:
    """Options of a prediction.

    Attributes:
        output: new file for the records, .jsonl or .csv; none when empty.
        batch_size: images that are classified at once.
    """

    output: str = ""
    batch_size: int = 32


CLASSIFICATION = TaskSpec(
    name="classification",
    config=ClassificationConfig,
    task="vkd.classification.task:ClassificationTask",
    evaluate="vkd.classification.inference:evaluate",
    predict="vkd.classification.inference:predict",
    export="vkd.classification.inference:export_inputs",
    cache="vkd.classification.cache:ClassifierSubject",
    datasets=ChainMap(PHOTOGRAPHS, SMALL),
    dataset_of="vkd.data.layout:dataset_of",
    describe="vkd.classification.description:describe",
    check="vkd.classification.distillation:check_methods",
    metric=Metric("accuracy", "%"),
    predict_options=ClassificationPrediction,
)

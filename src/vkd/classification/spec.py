"""Classification as it is registered."""

from collections import ChainMap
from dataclasses import dataclass

from vkd.classification.config import ClassificationConfig
from vkd.data.catalogue import PHOTOGRAPHS, SMALL
from vkd.ranges import MOST_AT_ONCE, require_range
from vkd.training.drafting import Drafting
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

    def __post_init__(self) -> None:
        require_range("batch_size", self.batch_size, 1, MOST_AT_ONCE)


CLASSIFICATION = TaskSpec(
    name="classification",
    config=ClassificationConfig,
    task="vkd.classification.task:ClassificationTask",
    evaluate="vkd.classification.inference:evaluate",
    predict="vkd.classification.inference:predict",
    export="vkd.classification.inference:export_inputs",
    pictures="vkd.data.samples:open_samples",
    cache="vkd.classification.cache:ClassifierSubject",
    datasets=ChainMap(PHOTOGRAPHS, SMALL),
    dataset_of="vkd.data.layout:dataset_of",
    describe="vkd.classification.description:describe",
    check="vkd.classification.distillation:check_methods",
    metric=Metric("accuracy", "%"),
    draft=Drafting(
        choices="vkd.classification.draft:draft",
        teacher="convnext_small.fb_in22k_ft_in1k",
        student="mobilenetv4_conv_small.e2400_r224_in1k",
    ),
    pipeline_tag="image-classification",
    predict_options=ClassificationPrediction,
)

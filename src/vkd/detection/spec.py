"""Detection as it is registered."""

from dataclasses import dataclass

from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.detection.config import DetectionConfig
from vkd.ranges import MOST_AT_ONCE, require_range
from vkd.training.drafting import Drafting
from vkd.training.spec import Metric, TaskSpec


@dataclass(frozen=True, kw_only=True)
class DetectionEvaluation:
    """Options of an evaluation.

    Attributes:
        predictions: file to write all detections to, in COCO's results format.
    """

    predictions: str = ""


@dataclass(frozen=True, kw_only=True)
class DetectionPrediction:
    """Options of a prediction.

    Attributes:
        output: folder for the pictures with boxes drawn on them, or new file for the records,
            .jsonl or .csv; none when empty.
        threshold: least score of a box, from 0 to 1.
        batch_size: images that are looked at at once; smaller ones are padded.
    """

    output: str = ""
    threshold: float = 0.5
    batch_size: int = 1

    def __post_init__(self) -> None:
        require_range("batch_size", self.batch_size, 1, MOST_AT_ONCE)
        require_range("threshold", self.threshold, 0, 1)


DETECTION = TaskSpec(
    name="detection",
    config=DetectionConfig,
    task="vkd.detection.task:DetectionTask",
    evaluate="vkd.detection.inference:evaluate",
    predict="vkd.detection.inference:predict",
    network="vkd.detection.inference:load_detector",
    export="vkd.detection.exported:export_inputs",
    pictures="vkd.detection.exported:open_samples",
    no_cache="the tokens that are compared would take terabytes for COCO, see docs/stores.md",
    datasets=DETECTION_DATASETS,
    dataset_of="vkd.detection.formats.layout:format_of",
    describe="vkd.detection.description:describe",
    check="vkd.detection.task:check_method",
    metric=Metric("AP", "%"),
    draft=Drafting(choices="vkd.detection.draft:draft", teacher="vidt_base", student="vidt_nano"),
    pipeline_tag="object-detection",
    evaluate_options=DetectionEvaluation,
    predict_options=DetectionPrediction,
)

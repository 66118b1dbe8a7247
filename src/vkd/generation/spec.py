"""Generation as it is registered."""

from dataclasses import dataclass

from vkd.config import LARGEST_SEED
from vkd.generation.config import INCEPTION, GenerationConfig
from vkd.ranges import require_range
from vkd.training.spec import Metric, TaskSpec

# Of a class: the names of their files have five digits.
_MOST_IMAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class GenerationPrediction:
    """Options of a prediction.

    Attributes:
        output: new PNG file for one picture with a row for each class, or folder of images.
        classes: names or numbers with commas between; all when empty.
        count: images of each class.
        seed: of the noise.
    """

    output: str = "samples.png"
    classes: str = ""
    count: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("count", self.count, 1, _MOST_IMAGES)
        require_range("seed", self.seed, 0, LARGEST_SEED)


def _frechet_distance(config: GenerationConfig) -> Metric:
    """The distance is called FID on Inception's features alone."""
    name = "FID" if config.extractor == INCEPTION else "frechet_distance"
    return Metric(name, lower_is_better=True)


GENERATION = TaskSpec(
    name="generation",
    config=GenerationConfig,
    task="vkd.generation.task:GenerationTask",
    evaluate="vkd.generation.inference:evaluate",
    predict="vkd.generation.inference:predict",
    export="vkd.generation.inference:export_inputs",
    network="vkd.generation.inference:load_generator",
    cache="vkd.generation.cache:DiscriminatorSubject",
    describe="vkd.generation.description:describe",
    check="vkd.generation.task:check_method",
    metric=_frechet_distance,
    pipeline_tag="unconditional-image-generation",
    predict_options=GenerationPrediction,
)

"""The pairs by name."""

from steps.classification import ClassificationPair
from steps.detection import DetectionPair
from steps.generation import GenerationPair
from steps.pair import Pair, Settings

PAIRS: dict[str, tuple[type[Pair], str]] = {
    "deit-ti": (ClassificationPair, "deit-tiny-imagenet"),
    "deit-s": (ClassificationPair, "deit-small-imagenet"),
    "vidt-nano": (DetectionPair, "vidt-nano-coco"),
    "biggan": (GenerationPair, "biggan-cifar10"),
}


def make_pair(name: str, settings: Settings) -> Pair:
    """Return the pair of a name."""
    kind, recipe = PAIRS[name]
    return kind(name, recipe, settings)

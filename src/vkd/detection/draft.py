"""What ``vkd init`` writes of detection."""

from vkd.errors import FieldError
from vkd.models.vidt.variants import BACKBONES, NAMES
from vkd.training.drafting import Choice, DraftRequest

_SHORT, _LONG = 800, 1333
_RELEASE = "as the paper's release"


def draft(request: DraftRequest) -> list[Choice]:
    """Return the choices for pictures with boxes and a pair of detectors.

    Raises:
        FieldError: for a network that is no detector.
    """
    for role, facts in {"student": request.student, "teacher": request.teacher}.items():
        if facts.name not in NAMES:
            raise FieldError(
                role, f"must be a detector, one of {', '.join(NAMES)}, found {facts.name}."
            )
    return [
        *_sizes(request),
        _backbone(request.student.name),
        Choice("method", "vkd", "guessed", "the paper's method"),
        Choice("projection", "orthogonal", "guessed", "the paper's (Miles et al., CVPR 2024)"),
        Choice("normalization", "standardize", "guessed", "the paper's for detection"),
        Choice("feature_weight", 4.0, "guessed", f"{_RELEASE} has it on COCO"),
        Choice("epochs", 50, "guessed", f"{_RELEASE} has it on COCO"),
        Choice("batch_size", _batch(request), "guessed", "images of one step and process that fit"),
        Choice("optimizer", "adamw", "guessed", _RELEASE),
        Choice("lr", 1e-4, "guessed", f"{_RELEASE}, for lr_reference_batch images"),
        Choice(
            "lr_reference_batch", 16, "guessed",
            "the release trained 2 images on each of 8 GPUs; the rate grows with the images",
        ),
        Choice("weight_decay", 1e-4, "guessed", _RELEASE),
        Choice("min_lr", 1e-7, "guessed", _RELEASE),
        Choice("clip_grad", 0.1, "guessed", _RELEASE),
        Choice("augmentation", "detr", "guessed", f"{_RELEASE}: flips, sizes and crops"),
    ]  # fmt: skip


def _batch(request: DraftRequest) -> int:
    return max(1, min(8 if request.is_cuda else 2, request.pictures // 2))


def _sizes(request: DraftRequest) -> list[Choice]:
    """The release's sizes, or less where all pictures are smaller."""
    if request.largest is None or max(request.largest) >= _LONG:
        text = f"{_RELEASE} has it on COCO"
        return [Choice("short_side", _SHORT, "guessed", text),
                Choice("long_side", _LONG, "guessed", text)]  # fmt: skip
    long, short = max(request.largest), min(min(request.largest), _SHORT)
    width, height = request.largest
    text = f"pictures are at most {width} wide and {height} high"
    return [Choice("short_side", short, "found", text), Choice("long_side", long, "found", text)]


def _backbone(student: str) -> Choice:
    if student in BACKBONES:
        text = f"timm publishes ImageNet weights of {BACKBONES[student]}, to start from"
        return Choice("backbone_checkpoint", "hub", "found", text)
    text = f"timm publishes no backbone of {student}'s size; a file of Swin weights helps much"
    return Choice("backbone_checkpoint", "", "found", text)

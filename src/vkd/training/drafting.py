"""What a task supplies to ``vkd init``, which writes recipes. Imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["given", "found", "measured", "guessed"]


@dataclass(frozen=True)
class Choice:
    """A field of a recipe, and why it has its value.

    Attributes:
        field: its name.
        value: its value.
        origin: whether the user gave it, it was found in the files, measured here, or guessed.
        reason: with its source where there is one.
    """

    field: str
    value: Any
    origin: Origin
    reason: str


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What was found of a network without its weights.

    Attributes:
        name: as the user gave it.
        layer: the last with features; empty where none is known.
        features: shape of that layer's output for one image, such as (197, 192).
        side: of the images that it is published with.
    """

    name: str
    layer: str = ""
    features: tuple[int, ...] = ()
    side: int = 224


@dataclass(frozen=True, kw_only=True)
class DraftRequest:
    """A folder of pictures and two networks, for which a recipe is to be written.

    Attributes:
        dataset: the kind of the data.
        pictures: to train on.
        classes: names of classes or categories; empty where the data have none.
        largest: largest (width, height) of the pictures; None where it is not known.
        student, teacher: the networks.
        teacher_classes: that the teacher's weights name; empty where they name none.
        is_cuda: whether training is to run on CUDA.
        epochs, batch_size: where they are decided already; 0 where they are not.
    """

    dataset: str
    pictures: int
    classes: Sequence[str]
    largest: tuple[int, int] | None
    student: NetworkFacts
    teacher: NetworkFacts
    teacher_classes: Sequence[str] = ()
    is_cuda: bool = False
    epochs: int = 0
    batch_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Drafting:
    """How recipes of a task are written.

    Attributes:
        choices: ``(request) -> list of Choice``, of all fields but data, networks and machine; or
            ``module:name``. They have a batch size, which is halved until a step fits.
        teacher, student: names to suggest.
    """

    choices: str | Callable[[DraftRequest], list[Choice]]
    teacher: str
    student: str


def photograph_side(request: DraftRequest) -> Choice:
    """Return ``input_size``: the student's published side, or less where pictures are smaller."""
    side, name = request.student.side, request.student.name
    largest = max(request.largest) if request.largest else side
    if largest >= side:
        return Choice("input_size", side, "found", f"{name} is published with it")
    # Strides and patches of most networks divide 32.
    smaller = max(32, -(-largest // 32) * 32)
    if smaller >= side:
        return Choice("input_size", side, "found", f"{name} is published with it")
    reason = (
        f"the largest side of the pictures is {largest}, rounded up to a multiple of 32; {name} "
        f"is published with {side}"
    )
    return Choice("input_size", smaller, "found", reason)


def photograph_choices(request: DraftRequest) -> list[Choice]:
    """Return how photographs are shown to classifiers and embeddings."""
    side = photograph_side(request)
    found = [
        side,
        Choice("flip", True, "guessed", "as DeiT; false where left and right have a meaning"),
    ]
    if side.value >= 96:
        # Smaller pictures are mostly of what solarising and blur would hide, such as digits.
        found += [
            Choice("augmentation", "three-augment", "guessed", "as DeiT III (ECCV 2022)"),
            Choice("color_jitter", 0.3, "guessed", "as DeiT III; 0 where colours have a meaning"),
        ]
    return found


def layer_choices(request: DraftRequest) -> list[Choice]:
    """Return the layers that are compared, as far as they are known by name."""
    found = []
    for role, facts in {"student": request.student, "teacher": request.teacher}.items():
        shape = " x ".join(map(str, facts.features)) or "of several parts"
        text = f"its last features, {shape} for an image; `vkd layers {facts.name}` lists others"
        if facts.layer:
            found.append(Choice(f"{role}_layer", facts.layer, "found", text))
    return found


def schedule_choices(request: DraftRequest, most: int) -> list[Choice]:
    """Return epochs, batch size, optimiser, rate and schedule of classifiers and embeddings.

    Args:
        request: what they are for.
        most: images of a step to begin with.
    """
    epochs, batch_size = request.epochs, request.batch_size
    if not epochs:
        epochs = 300 if request.pictures >= 1_000_000 else 100
    if not batch_size:
        batch_size = most
        # Even ones, as mixup pairs images.
        while batch_size > 8 and batch_size * 10 > request.pictures:
            batch_size //= 2
        batch_size = min(batch_size, request.pictures)
    lr = float(f"{1e-3 * (batch_size / 1024) ** 0.5:.2g}")
    return [
        Choice(
            "epochs", epochs, "guessed",
            "students go on to learn for longer than alone (Beyer et al., CVPR 2022); 300 is the "
            "paper's number for ImageNet",
        ),
        Choice(
            "batch_size", batch_size, "guessed",
            f"at most {most} on such a device, ten steps an epoch where that can be, and no more "
            "than fits",
        ),
        Choice("optimizer", "adamw", "guessed", "as DeiT (Touvron et al., ICML 2021)"),
        Choice(
            "lr", lr, "guessed",
            "DeiT's 1e-3 for 1024 images, times the root of batch_size / 1024, as rates of Adam "
            "scale (Malladi et al., NeurIPS 2022)",
        ),
        Choice("weight_decay", 0.05, "guessed", "as DeiT"),
        Choice(
            "warmup_epochs", min(5, epochs // 10), "guessed", "DeiT's 5, or a tenth of the epochs"
        ),
        Choice("min_lr", float(f"{lr / 100:.2g}"), "guessed", "a hundredth of lr, as DeiT"),
    ]  # fmt: skip


def feature_choices(request: DraftRequest) -> list[Choice]:
    """Return what the paper compares features by, in classifiers."""
    paper = "the paper's for recognition (Miles et al., CVPR 2024)"
    return [
        Choice("method", "vkd", "guessed", "the paper's method"),
        Choice("projection", "orthogonal", "guessed", paper),
        Choice("normalization", "layer_norm", "guessed", paper),
        Choice(
            "feature_weight", 1.0, "guessed",
            f"{paper}; `vkd compare RECIPE --methods vkd,none --tune` finds a better one",
        ),
    ]  # fmt: skip

"""VkD against a linear projection and against no distillation, on Fashion-MNIST.

A short training of the recipe ``fashion-mnist``, without augmentation, so that a teacher runs once;
weights are the recipe's and not tuned for any method. Differences are paired by seed.
"""

from collections.abc import Iterator
from typing import Any

from gpu_checks.context import Context, UnavailableError, package_of
from gpu_checks.rows import Row, measured, skipped
from gpu_checks.small_images import SmallImages, Student, taught
from vkd.data.small import read_small
from vkd.errors import UserError
from vkd.reporting.statistics import mean_and_deviation, paired_interval

_SEEDS = 5
_VKD = "VkD"
METHODS: dict[str, dict[str, Any]] = {
    _VKD: {},
    "linear projection, raw features": {"projection": "linear", "normalization": "identity"},
    "no distillation": {"feature_weight": 0.0, "logit_weight": 0.0},
}


def check(context: Context) -> Iterator[Row]:
    """Yield the accuracy of each method, and VkD's differences, over the seeds that fit in."""
    images = _images(context)
    size, epochs = context.sized((512, 4), (32, 1))
    teacher = taught(images, "cnn_fashion", epochs, size)
    seeds = context.sized(_SEEDS, 2)
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    longest = 0.0
    for seed in range(seeds):
        before = context.left()
        if before < 1.2 * longest:
            yield skipped(f"seeds {seed} to {seeds - 1}", "no time was left")
            break
        for name, fields in METHODS.items():
            student = Student(
                context, "fashion-mnist", images, teacher, seed=seed, batch_size=size,
                epochs=epochs, warmup_epochs=0, lr=2e-3, **fields,
            )  # fmt: skip
            student.train()
            found[name].append(student.accuracy())
        longest = max(longest, before - context.left())
    yield from _rows(found, f"{epochs} epochs of {len(images.train[0]):,} images")


def _images(context: Context) -> SmallImages:
    fraction = context.sized(1.0, 0.01)
    try:
        splits = read_small(
            "fashion-mnist", context.settings.fashion_mnist, train_fraction=fraction
        )
    except UserError as error:
        raise UnavailableError(str(error)) from None
    return SmallImages.of(splits, context.device)


def _rows(found: dict[str, list[float]], training: str) -> Iterator[Row]:
    for name, accuracies in found.items():
        mean, deviation = mean_and_deviation(accuracies)
        note = f"± {deviation:.2f}, {len(accuracies)} seeds, {training}"
        yield measured(f"test accuracy, {name}", mean, "%", note=note, behind=accuracies)
    for name, accuracies in found.items():
        if name != _VKD:
            apart = [a - b for a, b in zip(found[_VKD], accuracies, strict=True)]
            mean, _ = mean_and_deviation(apart)
            note = _interval(found[_VKD], accuracies)
            yield measured(f"{_VKD} minus {name}", mean, "points", note=note, behind=apart)


def _interval(first: list[float], second: list[float]) -> str:
    if len(first) < 2:
        return "no interval of one seed"
    try:
        interval = paired_interval(first, second)
    except ModuleNotFoundError as error:
        return f"no interval, as {package_of(error)} is not installed"
    return f"95 % interval {interval.low:+.2f} to {interval.high:+.2f}"

"""What a classifier gets wrong: which classes it takes for which, and its worst mistakes."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vkd.training.findings import Absent, Finding, Matrix, Picture, Pictures

MOST_CLASSES = 20
_MOST_MISTAKES = 16
_SIDE = 192


class Answers:
    """The answers of one evaluation: class, prediction and loss of each image.

    Kept on the device until they are counted, so that no batch waits for them.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, logits: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Add those of N images: ``logits`` (N, classes), ``labels`` and ``indices`` (N,)."""
        losses = F.cross_entropy(logits, labels, reduction="none")
        predicted = logits.argmax(1)
        self._parts.append((labels, predicted, losses, indices))

    def findings(
        self, classes: Sequence[str], picture_of: Callable[[int], Image.Image]
    ) -> list[Finding]:
        """Return the confusion matrix and the worst mistakes.

        Args:
            classes: their names.
            picture_of: makes the picture of an image by its index.
        """
        if not self._parts:
            return []
        parts = [torch.cat(column).cpu() for column in zip(*self._parts, strict=True)]
        labels, predicted, losses, indices = parts
        shares = (-losses).exp()
        wrong = (labels != predicted).nonzero()[:, 0]
        return [
            _confusion(labels, predicted, classes),
            _worst(
                wrong[losses[wrong].argsort(descending=True, stable=True)],
                lambda place: Picture(
                    _small(picture_of(int(indices[place]))),
                    f"{_name(classes, labels[place])}, taken for "
                    f"{_name(classes, predicted[place])}; {shares[place]:.1%} for the right class",
                ),
                len(labels),
            ),
        ]


def _confusion(labels: Tensor, predicted: Tensor, classes: Sequence[str]) -> Matrix:
    """Counts of all classes, or of those with the most mistakes where there are many."""
    known = max(len(classes), int(predicted.max()) + 1)
    wrong = labels != predicted
    mistakes = torch.bincount(labels[wrong], minlength=known)
    mistakes += torch.bincount(predicted[wrong], minlength=known)
    most = mistakes.argsort(descending=True, stable=True)[:MOST_CLASSES]
    chosen = most.sort().values.tolist()
    places = torch.full((known,), -1)
    places[chosen] = torch.arange(len(chosen))
    rows, columns = places[labels], places[predicted]
    shown = (rows >= 0) & (columns >= 0)
    flat = rows[shown] * len(chosen) + columns[shown]
    counts = torch.bincount(flat, minlength=len(chosen) ** 2).view(len(chosen), -1)
    text = f"{len(labels):,} validation images, {int(wrong.sum()):,} of them wrong."
    if len(chosen) < known:
        text += (
            f" Shown are {len(chosen)} of {known:,} classes, those with the most mistakes, and so "
            f"{int(shown.sum()):,} of the images."
        )
    return Matrix(
        title="Confusion matrix",
        text=text,
        row="true class",
        column="predicted class",
        names=[_name(classes, place) for place in chosen],
        counts=counts.tolist(),
    )


def _worst(wrong: Tensor, picture: Callable[[int], Picture], count: int) -> Finding:
    title = "Worst mistakes"
    if not len(wrong):
        return Absent(title=title, text=f"None of {count:,} validation images is wrong.")
    pictures = [picture(place) for place in wrong[:_MOST_MISTAKES].tolist()]
    text = f"{len(pictures)} of {len(wrong):,} wrong images, those with the largest loss."
    return Pictures(title=title, text=text, pictures=pictures)


def _name(classes: Sequence[str], place: int | Tensor) -> str:
    number = int(place)
    return classes[number] if number < len(classes) else str(number)


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((_SIDE, _SIDE))
    return picture

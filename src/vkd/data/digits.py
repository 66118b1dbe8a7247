"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 that ship inside the package."""

from pathlib import Path

import torch
from torch import Tensor

Part = tuple[Tensor, Tensor]


def read(path: str | Path = "") -> tuple[Part, Part, Part, list[str]]:
    """Return training (718), validation (180) and test (899) parts, stratified, in 0..1.

    Half of the digits are held out, as there are so few that the test's noise would hide
    everything otherwise. ``path`` is not used.
    """
    # Here, as scikit-learn takes seconds to import and other data sets do without.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rest, test_images, rest_labels, test_labels = train_test_split(
        images, labels, test_size=0.5, stratify=labels, random_state=0
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=0.2, stratify=rest_labels, random_state=0
    )

    def part(rows, targets) -> Part:  # type: ignore[no-untyped-def]
        tensor = torch.from_numpy(rows).float().reshape(-1, 1, 8, 8) / 16
        return tensor, torch.from_numpy(targets).long()

    return (
        part(train, train_labels),
        part(validation, validation_labels),
        part(test_images, test_labels),
        [str(digit) for digit in range(10)],
    )

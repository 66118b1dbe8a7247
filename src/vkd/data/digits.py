"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 that ship inside the package."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Part = tuple[Tensor, Tensor]

# The rows of each part, in order: scikit-learn's stratified train_test_split of half of the digits,
# and of a fifth of the other half, both with random_state 0.
_SPLIT = Path(__file__).with_name("digits_split.json")


def read(path: str | Path = "") -> tuple[Part, Part, Part, list[str]]:
    """Return training (718), validation (180) and test (899) parts, stratified, in 0..1.

    Half of the digits are held out, as there are so few that the test's noise would hide
    everything otherwise. ``path`` is not used.
    """
    images, labels = _digits()
    rows = json.loads(_SPLIT.read_text())
    train, validation, test = (
        (images[rows[name]], labels[rows[name]]) for name in ("train", "validation", "test")
    )
    return train, validation, test, [str(digit) for digit in range(10)]


def _digits() -> Part:
    """All images (1797, 1, 8, 8) and labels, as scikit-learn's ``load_digits`` has them."""
    # Read from its file, as importing scikit-learn takes a third of the time that torch does.
    home = find_spec("sklearn")
    folders = home.submodule_search_locations if home else None
    file = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if file is not None and file.is_file():
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
        pixels, labels = rows[:, :-1], rows[:, -1]
    else:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    return images, torch.from_numpy(labels).long()

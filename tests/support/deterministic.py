"""Two trainings whose operations could differ, deterministic; run in a process with a folder."""

import sys
from pathlib import Path

import torch

from support.canvases import few_canvases
from vkd.api.train import train

SHORT = {
    "epochs": 1, "warmup_epochs": 0, "device": "cpu", "trackers": "", "deterministic": True,
    "method": "none", "feature_weight": 0.0, "teacher": "",
}  # fmt: skip


def main(folder):
    """Train a classifier of augmented, mixed digits, and a detector, which samples its maps."""
    torch.set_num_threads(2)
    train("digits", folder / "classification", show=False, crop_padding=1, mixup=0.8, cutmix=1.0,
          train_fraction=0.2, **SHORT)  # fmt: skip
    with few_canvases(8, 4, 4):
        train("digits-detection", folder / "detection", show=False, batch_size=4, **SHORT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

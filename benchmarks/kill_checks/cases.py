"""The trainings that are killed: tiny ones of every task, with all that draws random numbers."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from vkd.detection import canvases

_CLASSES = 3
_SHARED = {
    "epochs": 2, "warmup-epochs": 0, "device": "cpu", "trackers": "", "log-every": 1,
    "evaluate-every": 1, "checkpoint-every": 1, "checkpoint-every-steps": 2, "checkpoints-kept": 2,
    "keep-best": "true", "ema-decay": 0.9, "accumulation": 2,
}  # fmt: skip
# What a short measurement chooses otherwise, and may choose otherwise in each run.
_LIVE = {"teacher-precision": "float32"}


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        recipe: its name.
        flags: the fields that are changed.
        processes: of torchrun; 0 without it.
        store: flags of ``vkd cache``, for a store that takes the teacher's place.
        free: fields that a resumed run may change.
    """

    recipe: str
    flags: dict[str, object]
    processes: int = 0
    store: dict[str, object] | None = None
    free: dict[str, object] = field(default_factory=dict)

    def train(self, folder: Path, run: Path, *more: str, **changes: object) -> list[str]:
        """The command, with the run folder ``run`` and what ``prepare`` left in ``folder``."""
        place = {"store": str(folder / "store"), "teacher": str(folder / "cnn"),
                 "resnet": str(folder / "resnet.safetensors"),
                 "vidt": str(folder / "vidt.safetensors"),
                 "photographs": str(folder / "photographs")}  # fmt: skip
        values = _SHARED | self.flags | changes
        words = ["train", self.recipe, "--output", str(run), *more]
        for name, value in values.items():
            words += [f"--{name}", str(value).format(**place)]
        return words


_DIGITS = {
    "teacher-checkpoint": "{teacher}", "train-fraction": 0.18, "batch-size": 16, "flip": "true",
    "crop-padding": 1,
}  # fmt: skip
_GAN = {
    "teacher-checkpoint": "{teacher}", "extractor-checkpoint": "{teacher}", "channels": 4,
    "noise-dim": 8, "samples": 100, "fraction": 0.15, "batch-size": 16, "lr": 2e-4, "min-lr": 2e-4,
    "flip": "true", "generator-every": 2,
}  # fmt: skip
CASES = {
    "classification": Case(
        "digits", _DIGITS | _LIVE | {"mixup": 0.8, "drop-path": 0.1, "logit-weight": 0.5}
    ),
    "classification, store": Case(
        "digits", _DIGITS | {"mixup": 0.8, "mixup-mode": "pair", "teacher-store": "{store}"},
        store={"views": 2},
    ),
    "photographs, 2 workers": Case(
        "deit-tiny-imagenet",
        _LIVE | {"data-path": "{photographs}", "input-size": 32, "student": "test_vit",
         "student-layer": "norm", "teacher": "resnet10t", "teacher-layer": "layer4",
         "teacher-checkpoint": "{resnet}", "batch-size": 4, "workers": 2, "mixup": 0.8,
         "mixed-precision": "no", "drop-path": 0.1, "color-jitter": 0.3,
         "repeated-augmentation": 1},
        free={"workers": 0},
    ),
    "generation": Case("gan-digits", _GAN | _LIVE | {"diff-augment": "true"}),
    "detection": Case(
        "digits-detection",
        _LIVE | {"teacher-checkpoint": "{vidt}", "batch-size": 4, "augmentation": "flip",
                 "drop-path": 0.1},
    ),
    "embedding": Case("digits-embedding", _DIGITS | _LIVE),
    "classification, 2 processes": Case(
        "digits", _DIGITS | _LIVE | {"batch-size": 8, "mixup": 0.8, "drop-path": 0.1}, processes=2
    ),
    "generation, 2 processes": Case("gan-digits", _GAN | _LIVE | {"batch-size": 8}, processes=2),
}  # fmt: skip


def few_canvases() -> None:
    """Compose few canvases, once for all processes that are made of this one."""
    canvases.SIZES.update(train=24, validation=6, test=6)
    for split in canvases.SIZES:
        canvases._compose_split(split)


def write_data(folder: Path) -> None:
    """Write photographs, and teachers that were never trained."""
    torch.manual_seed(0)
    digits = load_digits()
    for label in range(_CLASSES):
        images = digits.images[digits.target == label]
        for split, start, count in (("train", 0, 8), ("val", 8, 4)):
            place = folder / "photographs" / split / f"n{label:02d}"
            place.mkdir(parents=True)
            for index, image in enumerate(images[start : start + count]):
                pixels = (image / 16 * 255).astype(np.uint8).repeat(5, 0).repeat(5, 1)
                Image.fromarray(pixels).convert("RGB").save(place / f"{index}.JPEG")
    networks = {
        "resnet": timm.create_model("resnet10t", num_classes=_CLASSES),
        "vidt": timm.create_model("vidt_digits_large", num_classes=10),
    }
    for name, network in networks.items():
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")

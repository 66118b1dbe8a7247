"""Measures what scaling_model.py reckons with.

    python benchmarks/scaling_inputs.py

Parameters and multiply-adds of the paper's networks (our counter), bytes of a row of a store, and
the images a second that one core reads by the recipe: decoded, cropped and augmented, from files
that lie in memory.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import vkd
from days import write_coco, write_imagenet
from scaling_model import INPUTS, TRAININGS
from vkd.classification.data import read_splits, student_format
from vkd.detection.data import read_detection
from vkd.models.cost import model_cost
from vkd.recipe import recipe
from vkd.reporting.environment import environment
from vkd.store.rows import write_rows
from vkd.teacher import TeacherOutput

READ = 192  # pictures to measure with
STORED_ROWS = 1024


def costs() -> dict[str, dict[str, float]]:
    """Return parameters and multiply-adds of each network, for images as large as the recipe's."""
    found = {}
    for training in TRAININGS:
        usual: Any = recipe(training.recipe)
        for name in filter(None, (training.student, training.teacher)):
            if training.recipe.startswith("vidt"):
                network: nn.Module = vkd.create_model(name, num_classes=90)
                size = (usual.short_side, usual.long_side)
            else:
                network, size = timm.create_model(name), (usual.input_size,) * 2
            images = torch.zeros(1, 3, *size, device="meta")
            found[name] = model_cost(network.to("meta"), images)
    return found


def read_speed(name: str, write: Callable[[Path, int], None]) -> float:
    """Return the images a second that one core reads by a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), READ)
        config: Any = recipe(name, data_path=folder, workers=0)
        if name.startswith("vidt"):
            images: Any = read_detection(config, splits=("train",))["train"]
        else:
            images = read_splits(config, student_format(config, None)).train
        images[0]
        began = time.perf_counter()
        for index in range(READ):
            images[index]
        return float(f"{READ / (time.perf_counter() - began):.3g}")


def stored_bytes() -> float:
    """Return the bytes of a row of a store of RegNetY-160's features and logits."""
    outputs = TeacherOutput({"": torch.randn(STORED_ROWS, 3024)}, torch.randn(STORED_ROWS, 1000))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.safetensors"
        write_rows(file, outputs, "float16")
        return round(file.stat().st_size / STORED_ROWS)


def measured() -> dict[str, Any]:
    """Return all inputs, measured on this machine."""
    torch.set_num_threads(1)
    speeds = {"deit-tiny-imagenet": read_speed("deit-tiny-imagenet", write_imagenet)}
    speeds["deit-small-imagenet"] = speeds["deit-tiny-imagenet"]  # the same pictures and views
    speeds["vidt-nano-coco"] = read_speed("vidt-nano-coco", write_coco)
    return {
        "environment": environment(),
        "models": costs(),
        "images_per_second": speeds,
        "store_bytes": stored_bytes(),
    }


def main() -> None:
    """Measure, and keep it."""
    found = measured()
    INPUTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

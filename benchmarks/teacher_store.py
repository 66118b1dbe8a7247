"""Time of a training step of DeiT-Ti with RegNetY-160 as teacher, or a store of its answers.

    python benchmarks/teacher_store.py

The paper's recipe with its mixing, in pairs, on made JPEGs, with random weights, which take as long
as trained ones. The baseline is the network; its passes alternate with those of stores, one of each
format.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import timm
import torch
from accelerate.utils import send_to_device
from PIL import Image
from safetensors.torch import save_file

from vkd.api.cache import cache
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import ClassificationTask
from vkd.recipe import config_of, read_recipe
from vkd.reporting.environment import environment

CLASSES = 16
FORMATS: dict[str, dict[str, Any]] = {
    "store, float32": {"dtype": "float32"},
    "store, float16": {},
    "store, int8 and top 10": {"dtype": "int8", "top_k": 10},
}


def write_images(folder: Path, count: int) -> None:
    """Write JPEGs of 500 x 375, as ImageNet's are on average, in turns of each class."""
    random = np.random.default_rng(0)
    for split, images in (("train", count), ("val", CLASSES)):
        for index in range(images):
            place = folder / split / f"class{index % CLASSES:02d}"
            place.mkdir(parents=True, exist_ok=True)
            small = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(small).resize((500, 375)).save(place / f"{index}.jpg")


def step_times(task: ClassificationTask, device: torch.device) -> list[float]:
    """Seconds of each step of an epoch, forward and backward, without loading."""
    module = task.steps[0].module.to(device).train()
    times = []
    for batch in task.train_loader():
        moved = send_to_device(batch, device)
        began = time.perf_counter()
        sum(module(moved).values()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return times


def main() -> None:
    """Fill the stores and print all times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        count = max(arguments.batch_size * arguments.steps, CLASSES)
        write_images(folder / "images", count)
        teacher = timm.create_model("regnety_160", num_classes=CLASSES)
        save_file(teacher.state_dict(), folder / "teacher.safetensors")
        fields: dict[str, Any] = {
            "data_path": str(folder / "images"),
            "teacher_checkpoint": str(folder / "teacher.safetensors"),
            "mixup_mode": "pair", "workers": 0, "batch_size": arguments.batch_size,
            "mixed_precision": "no",
        }  # fmt: skip
        config = config_of(read_recipe("deit-tiny-imagenet") | fields)
        assert isinstance(config, ClassificationConfig)
        tasks, sizes = {"network": ClassificationTask(config)}, {}
        for name, options in FORMATS.items():
            store = folder / name.replace(" ", "-")
            sizes[name] = cache(config, store, views=1, show=False, **options)
            tasks[name] = ClassificationTask(replace(config, teacher_store=str(store)))
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(2):  # the first time to warm up
            times = {name: step_times(task, device) for name, task in tasks.items()}
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    print(f"deit_ti_distilled, batch {arguments.batch_size}, 224 x 224, float32, {device.type}")
    network = median(times["network"])
    print(f"teacher regnety_160: {network:.2f} s a step")
    for name, found in sizes.items():
        seconds = median(times[name])
        print(
            f"{name}: {seconds:.2f} s a step, {network / seconds:.2f} times as fast; "
            f"{found['row_bytes'] / 1e3:.1f} kB a view of an image"
        )


if __name__ == "__main__":
    main()

"""How long the paper's trainings would take on this machine.

    python benchmarks/days.py --recipe deit-tiny-imagenet
    python benchmarks/days.py --recipe vidt-nano-coco --steps 2 --batch-size 1 --device cpu

Trains by the recipe itself, with its loader, augmentation, losses and optimiser, for twice
``--steps`` updates of one process, and measures the second half. Made are the pictures (of the
usual sizes, in ImageNet's class folders or in COCO's format; of fewer classes where there are few)
and the weights of the teacher, which are random. The days are epochs times images over images a
second; evaluations and checkpoints come on top. Pictures come from memory that the system keeps of
their files, so that a slow disk takes longer.

Results are kept by recipe in ``results/days.json``.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
from PIL import Image
from torch import nn

import vkd
from vkd.config import TrainingConfig
from vkd.recipe import recipe as recipe_of
from vkd.reporting.environment import environment
from vkd.training.records import read_records

RESULTS = Path(__file__).parent / "results" / "days.json"
IMAGENET_IMAGES, IMAGENET_CLASSES = 1_281_167, 1000
COCO_IMAGES, COCO_CLASSES, COCO_OBJECTS = 118_287, 80, 7
DISTINCT = 100


def picture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a picture as smooth as a photograph, so that it takes as long to decode."""
    width, height = size
    coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_pictures(files: list[Path], size: tuple[int, int]) -> None:
    """Write JPEG files; later ones are links to the first."""
    random = np.random.default_rng(0)
    for index, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        if index < DISTINCT:
            picture(random, size).save(file, quality=90)
        else:
            file.hardlink_to(files[index % DISTINCT])


def write_imagenet(folder: Path, images: int) -> None:
    """Write class folders with so many training images, and one of each class to validate."""
    classes = min(images, IMAGENET_CLASSES)
    for split, count in (("train", images), ("val", classes)):
        names = [f"n{index % classes:08d}/{index:08d}.JPEG" for index in range(count)]
        write_pictures([folder / split / name for name in names], (500, 375))


def write_coco(folder: Path, images: int) -> None:
    """Write COCO 2017's layout with so many training images, and as many objects as usual."""
    random = np.random.default_rng(1)
    (folder / "annotations").mkdir()
    for split, count in (("train2017", images), ("val2017", 1)):
        entries = [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480}
            for i in range(1, count + 1)
        ]
        write_pictures([folder / split / entry["file_name"] for entry in entries], (640, 480))
        boxes = [
            random.integers((0, 0, 40, 40), (320, 240, 320, 240))
            for _ in range(COCO_OBJECTS * count)
        ]
        annotations = [
            {
                "id": i + 1, "image_id": i // COCO_OBJECTS + 1, "iscrowd": 0,
                "category_id": i % COCO_CLASSES + 1, "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
            }
            for i, box in enumerate(boxes)
        ]  # fmt: skip
        categories = [{"id": i, "name": f"class {i}"} for i in range(1, COCO_CLASSES + 1)]
        truth = {"images": entries, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))


def classifier_teacher(images: int) -> nn.Module:
    """Return the paper's teacher with random weights."""
    return timm.create_model("regnety_160", num_classes=min(images, IMAGENET_CLASSES))


def detector_teacher(images: int) -> nn.Module:
    """Return the paper's teacher with random weights."""
    return vkd.create_model("vidt_base", num_classes=COCO_CLASSES)


Plan = tuple[int, Callable[[Path, int], None], Callable[[int], nn.Module], dict[str, Any]]
DEIT: Plan = (IMAGENET_IMAGES, write_imagenet, classifier_teacher, {})
VIDT: Plan = (COCO_IMAGES, write_coco, detector_teacher, {"backbone_checkpoint": ""})
PLANS = {
    "deit-tiny-imagenet": DEIT,
    "deit-small-imagenet": DEIT,
    "vidt-nano-coco": VIDT,
    "vidt-tiny-coco": VIDT,
}


def measured(plan: Plan, config: TrainingConfig, steps: int) -> dict[str, Any]:
    """Return the record of the second half of twice ``steps`` updates by a recipe."""
    _, write, teacher, _ = plan
    images = 2 * steps * config.batch_size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        write(folder / "data", images)
        made = replace(config, data_path=str(folder / "data"), log_every=steps)
        vkd.train(made, folder / "run", teacher=teacher(images))
        return read_records(folder / "run" / "steps.jsonl", "update")[1]


def main() -> None:
    """Measure one recipe, print the days and keep them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=PLANS, required=True)
    parser.add_argument("--steps", type=int, default=50, help="updates to measure")
    parser.add_argument("--batch-size", type=int, help="images of an update [the recipe's]")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    parser.add_argument("--workers", type=int, help="loading processes [the recipe's, or cores]")
    flags = parser.parse_args()
    usual = recipe_of(flags.recipe)
    plan = PLANS[flags.recipe]
    images, _, _, changes = plan
    workers = min(usual.workers, os.cpu_count() or 1) if flags.workers is None else flags.workers
    config = replace(
        usual, epochs=1, batch_size=flags.batch_size or usual.batch_size, device=flags.device,
        workers=workers, trackers="", **changes,
    )  # fmt: skip
    load = round(os.getloadavg()[0], 2)  # other work on the machine makes it slower
    record = measured(plan, config, flags.steps)
    speed = record["images_per_second"]
    days = usual.epochs * images / speed / 86400
    found = {
        "days": round(days, 2), "epochs": usual.epochs, "images": images,
        "images_per_second": speed, "waiting": record["waiting"],
        "memory_gb": record["memory_gb"], "steps": flags.steps, "batch_size": config.batch_size,
        "workers": workers, "processes": 1, "device": flags.device,
        "load_before": load, "environment": environment(),
    }  # fmt: skip
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(kept | {flags.recipe: found}, indent=1) + "\n")
    print(f"{flags.recipe}: {speed:g} images/s, {record['waiting']:.0%} of the time loading")
    print(f"{usual.epochs} epochs of {images:,} images: {days:.1f} days with one process")


if __name__ == "__main__":
    main()

"""Augmentation in the workers against augmentation in batches on the device.

    python benchmarks/augmentation.py            # on this CPU, and on CUDA where it is available

The baseline is what a worker does for an image without ``augment_on_device``, on one core: decode
(photographs), crop, and everything after it. With the flag a worker decodes, crops and draws; the
rest is done for a whole batch at once, timed on one CPU core and, where there is one, on the GPU,
whose time is taken with the copy from pinned memory. Parts are timed in turns, as the clock of a
machine drifts over seconds.

A GPU's column says what augmentation takes of the step's time. On a CPU, a step and its
augmentation share the cores, so that the sum of worker and batch must be below the baseline to pay.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from PIL import Image
from torch.utils.data import default_collate
from torchvision.transforms import v2

from vkd.data.batch_augmentation import (
    BatchAugmentation,
    PhotographAugmentation,
    SmallAugmentation,
)
from vkd.data.draws import SmallDraw
from vkd.data.pictures import open_picture
from vkd.data.transforms import IMAGENET, training_transform
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results" / "augmentation.json"
SETTINGS = ("three-augment", 0.3, True, "random")  # of the DeiT recipes
PICTURES, BATCH, SMALL_BATCH, ROUNDS = 16, 64, 512, 7


def jpegs() -> list[bytes]:
    """Return made photographs of ImageNet's usual size."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(random.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        file = BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def seconds(function: Callable[[], Any]) -> float:
    """Return the seconds of a call, to its end on the GPU as well."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def alternating(parts: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    """Return the median microseconds an image of each part, a function and its images."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS + 1):
        for name, (function, images) in parts.items():
            times[name].append(1e6 * seconds(function) / images)
    return {name: median(every[1:]) for name, every in times.items()}


def on_gpu(augmentation: BatchAugmentation, batch: Any) -> Callable[[], Any]:
    """Return the copy of a pinned batch to the GPU and its augmentation there."""
    device, pinned = torch.device("cuda"), type(batch)(*(part.pin_memory() for part in batch))
    moved = augmentation.to(device)
    return lambda: moved(send_to_device(pinned, device, non_blocking=True))


def measured(
    whole: Callable[[Any], Any],
    drawn: Callable[[Any], Any],
    items: list[Any],
    augmentation: BatchAugmentation,
    size: int,
) -> dict[str, float]:
    """Return microseconds an image of each part, megabytes of a batch, and the ratios.

    Args:
        whole: makes a finished image of an item.
        drawn: makes of an item what the device finishes.
        items: what a worker reads.
        augmentation: finishes batches.
        size: images of a batch.
    """
    batch = default_collate([drawn(items[n % len(items)]) for n in range(size)])
    parts = {
        "worker, everything": (lambda: [whole(item) for item in items], len(items)),
        "worker, with the flag": (lambda: [drawn(item) for item in items], len(items)),
        "batch on one core": (lambda: augmentation(batch), size),
    }
    found = alternating(parts)
    finished = augmentation(batch)
    if torch.cuda.is_available():
        found |= alternating({"batch on the GPU": (on_gpu(augmentation, batch), size)})
    base, worker = found["worker, everything"], found["worker, with the flag"]
    return found | {
        "images/s a core, everything": 1e6 / base,
        "images/s a core, with the flag": 1e6 / worker,
        "faster workers": base / worker,
        "on one core together": base / (worker + found["batch on one core"]),
        "fewer bytes": finished.nbytes / sum(part.nbytes for part in batch),
    }


def photographs() -> dict[str, float]:
    """Return the numbers of photographs as the DeiT recipes augment them."""
    whole = training_transform(IMAGENET, *SETTINGS)
    drawn = training_transform(IMAGENET, *SETTINGS, on_device=True)

    def read(transform: v2.Transform, data: bytes) -> Any:
        return transform(open_picture(BytesIO(data)))

    augmentation = PhotographAugmentation(IMAGENET, *SETTINGS[:2])
    return measured(partial(read, whole), partial(read, drawn), jpegs(), augmentation, BATCH)


def small() -> dict[str, float]:
    """Return the numbers of images of 28 x 28 with padded crops and flips."""
    steps = [v2.RandomCrop((28, 28), padding=2), v2.RandomHorizontalFlip()]
    items = list(torch.randn(SMALL_BATCH, 1, 28, 28))
    drawn = SmallDraw((28, 28), 2, True)
    return measured(v2.Compose(steps), drawn, items, SmallAugmentation(2, 0.0), SMALL_BATCH)


def main() -> None:
    """Measure both kinds of images, print the parts and ratios and write them."""
    torch.set_num_threads(1)
    found = {"photographs": photographs(), "small images": small()}
    for kind, numbers in found.items():
        print(f"\n{kind}")
        for name, value in numbers.items():
            unit = " us an image" if name.startswith(("worker", "batch")) else ""
            print(f"  {name:<32}{value:>10.4g}{unit}")
    text = json.dumps({"environment": environment(), "found": found}, indent=1)
    RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    main()

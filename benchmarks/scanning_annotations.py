"""Seconds and memory of the pass over annotations, on made ones of growing number."""

import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from vkd.detection.annotations import clean_annotations

PICTURES, ANNOTATIONS = 118_000, 860_000


def measure_annotations(shares: tuple[float, ...] = (1 / 16, 1 / 4, 1.0)) -> list[dict[str, Any]]:
    """Return pictures, annotations, seconds and the memory added in MiB, for each share of COCO."""
    context = multiprocessing.get_context("spawn")
    found = []
    for share in shares:
        with context.Pool(1) as pool:
            found.append(pool.apply(_measure, (share,)))
    return found


def _measure(share: float) -> dict[str, Any]:
    pictures, annotations = round(PICTURES * share), round(ANNOTATIONS * share)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(pictures):
            file = folder / f"{index}.png"
            if index % 1000:  # a file takes a limited number of names
                file.hardlink_to(folder / f"{index - index % 1000}.png")
            else:
                Image.new("RGB", (64, 48)).save(file)
        raw = _made(pictures, annotations)
        before, began = _peak(), time.perf_counter()
        clean_annotations(raw, "made.json", folder, is_training=True)
        seconds = time.perf_counter() - began
    return {
        "pictures": pictures,
        "annotations": annotations,
        "seconds": round(seconds, 2),
        "added_mib": round(_peak() - before),
    }


def _made(pictures: int, annotations: int) -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(pictures)
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": i % pictures,
                "category_id": i % 80,
                "bbox": [i % 30 + 0.5, i % 20 + 0.5, 20.0, 10.0],
                "area": 200.0,
                "iscrowd": 0,
            }
            for i in range(annotations)
        ],
        "categories": [{"id": i, "name": str(i)} for i in range(80)],
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(measure_annotations(), indent=2))

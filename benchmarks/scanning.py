"""Time to find what a data set holds, and its growth with the number of files.

    python benchmarks/scanning.py

Class folders: the baseline, in the same run and alternating, is os.walk over the same tree, the
least that any reader does. Files are empty, since a scan opens none.

Annotations in COCO's format, up to the size of COCO 2017: the baseline is reading the same JSON.
The memory is what the pass adds, in a process of its own.
"""

import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from vkd.data.class_folders import ClassFolders, scan_folder
from vkd.detection.annotations import clean_annotations
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results" / "scanning.json"
SIZES = (2_000, 8_000, 32_000)
PICTURES = (7_375, 29_500, 118_000)
OBJECTS_PER_PICTURE = 860 / 118  # as in COCO 2017
ROUNDS = 9


def alternating(functions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median seconds of each function, called in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: median(every) for name, every in times.items()}


def listing(root: Path) -> int:
    """Return the number of files below a folder."""
    return sum(len(files) for _, _, files in os.walk(root))


def write_tree(root: Path, files: int) -> None:
    """Write empty files with names as ImageNet's, a hundred to a class."""
    for place in range(files // 100):
        folder = root / f"n{place:08d}"
        folder.mkdir(parents=True)
        for index in range(100):
            (folder / f"n{place:08d}_{index:05d}.JPEG").touch()


def class_folders(files: int) -> dict[str, float]:
    """Return the seconds of listing class folders, and of reading all that training needs."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_tree(root, files)
        assert listing(root) == len(ClassFolders(scan_folder(root))) == files
        found = alternating(
            {
                "listing": lambda: listing(root),
                "scan": lambda: ClassFolders(scan_folder(root)),
            }
        )
    return found | {"ratio": found["scan"] / found["listing"]}


def annotations(pictures: int) -> dict[str, float]:
    """Return the seconds of reading a JSON file and of the pass over it, and the MiB it adds."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_annotations, (pictures,))


def _annotations(pictures: int) -> dict[str, float]:
    objects = round(pictures * OBJECTS_PER_PICTURE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_pictures(folder, pictures)
        text = json.dumps(made_annotations(pictures, objects))
        began = time.perf_counter()
        raw = json.loads(text)
        listing, before = time.perf_counter() - began, _peak()
        began = time.perf_counter()
        clean_annotations(raw, "made.json", folder, is_training=True)
        scan = time.perf_counter() - began
    ratio = scan / listing
    return {"listing": listing, "scan": scan, "ratio": ratio, "added_mib": _peak() - before}


def _write_pictures(folder: Path, pictures: int) -> None:
    for index in range(pictures):
        file = folder / f"{index}.png"
        if index % 1000:  # a file takes a limited number of names
            file.hardlink_to(folder / f"{index - index % 1000}.png")
        else:
            Image.new("RGB", (64, 48)).save(file)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_annotations(pictures: int, annotations: int) -> dict[str, Any]:
    """Return annotations in COCO's format, spread evenly over pictures of 64 x 48."""
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


def main() -> None:
    """Measure each kind of data at each size, print the ratios and write all of it."""
    kinds = {"class folders": (class_folders, SIZES), "annotations": (annotations, PICTURES)}
    found: dict[str, dict[str, Any]] = {}
    for kind, (measure, sizes) in kinds.items():
        found[kind] = {str(size): measure(size) for size in sizes}
        for size, row in found[kind].items():
            print(f"{kind}, {int(size):,} files:", end=" ")
            print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        first, last = (found[kind][str(size)]["scan"] for size in (sizes[0], sizes[-1]))
        print(f"{kind}: {sizes[-1] / sizes[0]:g} times the files, {last / first:.3g} the time")
    RESULTS.write_text(
        json.dumps({"environment": environment(), "seconds": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()

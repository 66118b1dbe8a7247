"""Time to find what a data set holds, and its growth with the number of files.

    python benchmarks/scanning.py

The baseline, in the same run and alternating, is os.walk over the same tree: the least that any
reader does. Files are empty, since a scan opens none.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from vkd.data.class_folders import ClassFolders, scan_folder
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results" / "scanning.json"
SIZES = (2_000, 8_000, 32_000)
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


def main() -> None:
    """Measure each kind of data at each size, print the ratios and write all of it."""
    kinds = {"class folders": class_folders}
    found: dict[str, dict[str, Any]] = {}
    for kind, measure in kinds.items():
        found[kind] = {str(size): measure(size) for size in SIZES}
        for size, row in found[kind].items():
            print(f"{kind}, {int(size):,} files:", end=" ")
            print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        first, last = (found[kind][str(size)]["scan"] for size in (SIZES[0], SIZES[-1]))
        print(f"{kind}: {SIZES[-1] / SIZES[0]:g} times the files, {last / first:.3g} the time")
    RESULTS.write_text(
        json.dumps({"environment": environment(), "seconds": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()

"""Whether runs that are killed lose anything: each goes on, and must end as an unbroken one.

    python benchmarks/kills.py                      # all trainings
    python benchmarks/kills.py --tasks classification --limit 12 --minutes 8

Each training is a tiny one with augmentation, mixing, averaged weights, accumulation and states
within epochs. It runs once unbroken; then it is killed, by itself before one of its file events or
from outside at a random instant, goes on once or several times, and must leave the same files, bit
for bit but for times in its records: weights, states, records of each epoch and update once,
nothing half-written. Other trials damage its newest state, plant pickles in it, fill the disk, or
start it twice in one folder.

The processes are real ones, made of this one, which has imported all of it. Results are added to
those of an earlier call, whose trials are not made again; ``--anew`` forgets them.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from kill_checks.cases import CASES, few_canvases, write_data
from kill_checks.children import Child
from kill_checks.kills import Trials
from kill_checks.plan import Planned, kills, others
from kill_checks.report import Results

RESULTS = Path(__file__).parent / "results" / "kills.json"
# What a run imports as late as it can, so that each need not again.
_LATE = (
    "vkd.api.train", "vkd.cli.commands", "vkd.classification.task", "vkd.generation.task",
    "vkd.detection.task", "vkd.embedding.task", "vkd.api.cache", "torch.distributed.run",
    "torch.distributed.checkpoint.state_dict", "sklearn.datasets", "torchvision.transforms.v2",
    "torch._dynamo", "accelerate", "timm", "pycocotools.cocoeval",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Import what the processes need, and write their data."""
    for name in _LATE:
        import_module(name)
    few_canvases()
    if not (folder / "vidt.safetensors").exists():
        write_data(folder)
        _train_teacher(folder)
    names = {(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    # Arrow's allocator has one, which knows how to be forked.
    others = names - {"python", "python3", "jemalloc_bg_thd"}
    if others or threading.active_count() > 1:
        raise SystemExit(f"Threads are running, so that no process can be forked: {others}.")


def _train_teacher(folder: Path) -> None:
    """Train a teacher of digits, whose weights say what its images are."""
    place = folder / "cnn"
    words = ["train", "digits-teacher", "--output", str(place), "--epochs", "1"]
    words += ["--warmup-epochs", "0", "--device", "cpu", "--trackers", ""]
    ended = Child(words, place, folder / "cnn.log").ended()
    if ended.code:
        raise SystemExit(ended.text)


def trials_of(name: str, folder: Path) -> Trials:
    """The trials of a case, with its store and its unbroken run in a folder of ``folder``."""
    case = CASES[name]
    place = folder / name.replace(", ", "-").replace(" ", "-")
    place.mkdir(exist_ok=True)
    store = folder / "store"
    if case.store is not None and not store.exists():
        words = case.train(folder, store)
        cut = words.index("--teacher-store")
        words = ["cache", *words[1:cut], *words[cut + 2 :]]
        for key, value in case.store.items():
            words += [f"--{key}", str(value)]
        ended = Child(words, store, place / "store.log").ended()
        if ended.code:
            raise SystemExit(ended.text)
    return Trials(case, place)


def main() -> int:
    """Make the trials, print the table and return 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tasks", default=";".join(CASES), help="names of trainings, with semicolons between")
    add("--limit", type=int, default=32, help="kills of each training")
    add("--others", type=int, default=8, help="likewise of other trials; 0 for none")
    add("--minutes", type=float, default=0.0, help="time for this call; 0 for all that it takes")
    add("--anew", action="store_true", help="make trials again that were made before")
    add("--again", action="store_true", help="make trials again that have lost something")
    add("--output", type=Path, default=RESULTS, help="JSON file; a table goes beside it")
    flags = parser.parse_args()
    end = time.monotonic() + 60 * flags.minutes if flags.minutes else float("inf")
    results = Results(flags.output)
    if flags.anew:
        results.trials.clear()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        prepare(folder)
        for name in flags.tasks.split(";"):
            if time.monotonic() > end:
                break
            trials = trials_of(name, folder)
            for planned in [*kills(trials, flags.limit), *_others(trials, name, flags.others)]:
                key = f"{name}: {planned.kind}: {planned.detail}"
                known = results.trials.get(key)
                if time.monotonic() > end:
                    break
                if known is None or (flags.again and known["lost"]):
                    _make(results, key, name, planned)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(results.page())
    return int(any(trial["lost"] for trial in results.trials.values()))


def _others(trials: Trials, name: str, most: int) -> list[Planned]:
    return list(others(trials, most)) if most and not trials.case.processes else []


def _make(results: Results, key: str, name: str, planned: Planned) -> None:
    began = time.monotonic()
    lost = planned.make()
    results.add(key, name, planned.kind, planned.detail, lost)
    print(
        f"{'LOST' if lost else 'held'} {time.monotonic() - began:5.1f} s {key} {lost[:4]}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

"""Memory, open files and shared memory of many steps of training and of many predictions.

    python benchmarks/endurance.py                      # 50,000 steps and 100,000 pictures each
    python benchmarks/endurance.py --steps 2000 --pictures 2000
    python benchmarks/endurance.py --parts embedding    # and keep what is known of the others

Each part runs in a process of its own, which is looked at from outside while it works; what its
loading processes take counts, too. Networks are two small layers on digits, as what grows with a
step or a picture does so with any network; detectors and GANs, whose networks are larger, take a
hundredth and a tenth of the steps. The growth of a part
is that from a fifth of its time, when all is warm, to its end. ``results/endurance.json`` and
``.md`` keep all of it.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import vkd
from vkd.api.predict import each_prediction
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results"
SHARED = Path("/dev/shm")
SPAWN = multiprocessing.get_context("spawn")
BATCH = 16
STEPS_PER_EPOCH = 718 // BATCH  # of the digits that are trained on


class Named(NamedTuple):
    """A task whose networks have names: its ``recipe``, ``images`` to train on, a ``batch`` of
    them, and the ``share`` of the steps."""

    recipe: str
    images: int
    batch: int
    share: float


NAMED = {
    "detection": Named("digits-detection", 512, 2, 0.01),
    "generation": Named("gan-digits", 718, BATCH, 0.1),
}


@dataclass(frozen=True)
class Look:
    """A process and its children at a time: ``mib`` of memory, ``files`` that are open, and
    ``shared`` files of the machine's shared memory."""

    mib: float
    files: int
    shared: int


@dataclass(frozen=True)
class Endured:
    """What a part took.

    Attributes:
        count: steps or pictures.
        seconds: of the whole process.
        warm: when a fifth of the time was over, a median of looks.
        last: at the end, likewise.
        looks: how often it was looked at.
        environment: date, versions and machine.
    """

    count: int
    seconds: float
    warm: Look
    last: Look
    looks: int
    environment: str

    @property
    def grown(self) -> float:
        """MiB for each 10,000 steps or pictures."""
        return (self.last.mib - self.warm.mib) / (0.8 * self.count) * 1e4


def network() -> nn.Module:
    """Return two layers on digits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def train(recipe: str, steps: int, folder: Path, workers: int) -> None:
    """Train for as many steps, in whole epochs, with some evaluations and states in between."""
    epochs = -(-steps // STEPS_PER_EPOCH)
    every = max(1, epochs // 20)
    taps = {"student_layer": "2", "teacher_layer": "2"} if recipe == "digits" else {}
    vkd.train(
        recipe, folder, epochs=epochs, warmup_epochs=0, batch_size=BATCH, evaluate_every=every,
        checkpoint_every=every, workers=workers, device="cpu", trackers="", show=False,
        student=network(), teacher=network(), **taps,
    )  # fmt: skip


def train_named(task: str, steps: int, folder: Path) -> None:
    """Train a detector or GAN for as many steps, likewise."""
    kind, networks = NAMED[task], {}
    if task == "detection":  # whose own teacher is trained for minutes; here it knows nothing
        weights = folder.with_suffix(".safetensors")
        save_file(vkd.create_model("vidt_digits", num_classes=10).state_dict(), weights)
        networks = {"teacher": "vidt_digits", "teacher_checkpoint": str(weights)}
    epochs = -(-steps // (kind.images // kind.batch))
    every = max(1, epochs // 5)
    vkd.train(
        kind.recipe, folder, epochs=epochs, warmup_epochs=0, batch_size=kind.batch, device="cpu",
        evaluate_every=every, checkpoint_every=every, trackers="", show=False, **networks,
    )  # fmt: skip


def predict(pictures: Path, folder: Path) -> None:
    """Predict a folder of pictures by a run of ``train``, keeping no record."""
    records = each_prediction(str(folder), [pictures], student=network(), batch_size=32)
    for _ in records:
        pass


def write_pictures(folder: Path, count: int) -> None:
    """Write as many tiny pictures, of which only every thousandth is no link to another."""
    folder.mkdir()
    for index in range(count):
        file = folder / f"{index:06d}.png"
        if index % 1000:  # a file takes a limited number of names
            file.hardlink_to(folder / f"{index - index % 1000:06d}.png")
        else:
            Image.new("L", (8, 8), index // 1000).save(file)


def endured(count: int, interval: float, work: Callable[..., None], *arguments: object) -> Endured:
    """Do ``work`` in a process of its own and look at it now and then.

    Raises:
        RuntimeError: if it fails.
    """
    process = SPAWN.Process(target=work, args=arguments)
    began = time.monotonic()
    process.start()
    found = [look for look in _looks(process, interval) if look.mib]
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work.__name__} ended with code {process.exitcode}.")
    seconds, fifth = time.monotonic() - began, len(found) // 5
    few = max(1, len(found) // 20)
    warm, last = _median(found[fifth : fifth + few]), _median(found[-few - 1 : -1] or found)
    made = " · ".join(environment().values())
    return Endured(count, round(seconds, 1), warm, last, len(found), made)


def _looks(process: "multiprocessing.process.BaseProcess", interval: float) -> Iterator[Look]:
    watched = psutil.Process(process.pid)
    while process.is_alive():
        try:
            family = [watched, *watched.children(recursive=True)]
            mib = sum(one.memory_info().rss for one in family) / 2**20
            yield Look(mib, sum(one.num_fds() for one in family), _shared())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass  # one that has just ended
        process.join(interval)


def _shared() -> int:
    return sum(1 for _ in SHARED.iterdir()) if SHARED.is_dir() else 0


def _median(looks: list[Look]) -> Look:
    mib, files, shared = (median(column) for column in zip(
        *((one.mib, one.files, one.shared) for one in looks), strict=True
    ))  # fmt: skip
    return Look(round(mib, 1), int(files), int(shared))


def lines_of(parts: dict[str, Endured]) -> list[str]:
    """Return a table, and where it is from."""
    lines = [
        "| part | count | s | MiB, warm | MiB, last | MiB for 10,000 | files | shared files | by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    made = list(dict.fromkeys(part.environment for part in parts.values()))
    for name, part in parts.items():
        warm, last = part.warm, part.last
        lines.append(
            f"| {name} | {part.count:,} | {part.seconds:,.0f} | {warm.mib:,.1f} "
            f"| {last.mib:,.1f} | {part.grown:+.2f} | {warm.files} to {last.files} "
            f"| {warm.shared} to {last.shared} | {made.index(part.environment) + 1} |"
        )
    return [*lines, "", *(f"{number}. {text}" for number, text in enumerate(made, 1))]


Part = Callable[[], Endured]


def parts_of(steps: int, pictures: int, folder: Path, interval: float = 0.25) -> dict[str, Part]:
    """Return the parts by name; a prediction is by the run of the part before it."""
    digits = {"classification": "digits", "embedding": "digits-embedding"}
    found: dict[str, Part] = {}
    for task, recipe in digits.items():
        run = folder / recipe
        found[f"train: {task}"] = partial(endured, steps, interval, train, recipe, steps, run, 0)
        found[f"predict: {task}"] = partial(
            endured, pictures, interval, predict, folder / "pictures", run
        )
    for task, kind in NAMED.items():
        count = int(steps * kind.share)
        found[f"train: {task}"] = partial(
            endured, count, interval, train_named, task, count, folder / task
        )
    # A step of so small a network waits for its batch.
    few, run = steps // 10, folder / "workers"
    found["train: 2 workers"] = partial(endured, few, interval, train, "digits", few, run, 2)
    return found


def known_parts(file: Path) -> dict[str, Endured]:
    """Return what was measured before."""
    saved = json.loads(file.read_text())["parts"] if file.exists() else {}
    return {
        name: Endured(**part | {"warm": Look(**part["warm"]), "last": Look(**part["last"])})
        for name, part in saved.items()
    }


def main() -> None:
    """Measure all parts, print a table of them and keep it, after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000, help="of training [50000]")
    parser.add_argument("--pictures", type=int, default=100_000, help="to predict [100000]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--parts", default="", help="word of the parts to measure [all]")
    flags = parser.parse_args()
    for name in ("steps", "pictures"):
        if vars(flags)[name] < 1000:
            parser.error(f"--{name} must be at least 1000, found {vars(flags)[name]}")
    flags.output.mkdir(exist_ok=True)
    file = flags.output / "endurance.json"
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder) / "pictures", flags.pictures)
        parts = parts_of(flags.steps, flags.pictures, Path(folder))
        chosen = [name for name in parts if flags.parts in name]
        if not chosen:
            parser.error(f"--parts must be in one of {', '.join(parts)}, found {flags.parts!r}")
        found = known_parts(file)
        for name in chosen:
            found[name] = parts[name]()
            kept = {part: found[part] for part in parts if part in found}
            saved = {"parts": {part: asdict(value) for part, value in kept.items()}}
            file.write_text(json.dumps(saved, indent=1) + "\n")
            table = lines_of(kept)
            print(table[2 + list(kept).index(name)], flush=True)
            page = "\n".join(["# Memory of long work", "", *table]) + "\n"
            file.with_suffix(".md").write_text(page)


if __name__ == "__main__":
    main()

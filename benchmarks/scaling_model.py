"""What bounds the paper's trainings on 8 to 512 GPUs: a model of compute, all-reduce and reading.

    python benchmarks/scaling_model.py              # prints the tables of docs/scaling.md
    python benchmarks/scaling_model.py --peak 312 --nic 20 --cores 12     # of another cluster

docs/scaling.md explains the formula. What is measured is in ``results/scaling_inputs.json``, by
``scaling_inputs.py``; all of ``Cluster`` and each training's utilisation is assumed.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from vkd.recipe import recipe

INPUTS = Path(__file__).parent / "results" / "scaling_inputs.json"
GPUS = (8, 16, 32, 64, 128, 256, 512)
FORWARD, BACKWARD = 2, 4  # operations for each multiply-add of the forward pass
GRADIENT_BYTES = 4  # of a parameter, as weights are float32
BUCKET = 25 * 2**20  # bytes that DDP sends together; the last of them finds no work to hide behind


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines; every value is a flag.

    Attributes:
        peak: of a GPU in bfloat16 without sparsity, TFLOP/s.
        node: GPUs of a machine.
        nvlink: what a GPU sends a second to others of its machine, GB.
        nic: the same to other machines, GB.
        latency: of a message, microseconds.
        cores: for each GPU.
    """

    peak: float = 989.0
    node: int = 8
    nvlink: float = 360.0
    nic: float = 40.0
    latency: float = 10.0
    cores: int = 14


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of the paper on one GPU of many.

    Attributes:
        title: of its table.
        recipe: its name.
        student, teacher: networks; no teacher where a store takes its place.
        features: widths of the student's and the teacher's features, and how many projections.
        use: utilisation of the peak that is assumed of student and teacher.
        batch_size: images a step of each GPU.
        largest: images a step of the largest batch that the learning rate's rule is known for.
        images, image_bytes: of the data set.
    """

    title: str
    recipe: str
    student: str
    teacher: str = ""
    features: tuple[int, int, int]
    use: tuple[float, float]
    batch_size: int
    largest: int
    images: int
    image_bytes: float


_IMAGENET: dict[str, Any] = {
    "batch_size": 128, "largest": 4096, "images": 1_281_167, "image_bytes": 138e9 / 1_281_167,
}  # fmt: skip
_TINY: dict[str, Any] = {
    "recipe": "deit-tiny-imagenet", "student": "deit_ti_distilled", "features": (192, 3024, 1),
    "use": (0.10, 0.20), **_IMAGENET,
}  # fmt: skip
_SMALL: dict[str, Any] = {
    "recipe": "deit-small-imagenet", "student": "deit_s_distilled", "features": (384, 3024, 1),
    "use": (0.20, 0.20), **_IMAGENET,
}  # fmt: skip
TRAININGS = (
    Training(title="DeiT-Ti, RegNetY-160 as network", teacher="regnety_160", **_TINY),
    Training(title="DeiT-Ti, RegNetY-160 from a store", **_TINY),
    Training(title="DeiT-S, RegNetY-160 as network", teacher="regnety_160", **_SMALL),
    Training(title="DeiT-S, RegNetY-160 from a store", **_SMALL),
    Training(
        title="ViDT nano, ViDT base as network", recipe="vidt-nano-coco", student="vidt_nano",
        teacher="vidt_base", features=(256, 256, 6), use=(0.02, 0.10), batch_size=2, largest=64,
        images=118_287, image_bytes=18e9 / 118_287,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """Seconds of a step: ``compute``, ``all_reduce`` and the part of it that is ``exposed``, and
    ``reading`` with all cores."""

    compute: float
    all_reduce: float
    exposed: float
    reading: float

    @property
    def without_reading(self) -> float:
        """Seconds of a step whose images are there."""
        return self.compute + self.exposed

    @property
    def seconds(self) -> float:
        """Seconds of the step; reading runs beside it."""
        return max(self.without_reading, self.reading)

    @property
    def bound(self) -> str:
        """What a faster step needs."""
        if self.reading > self.without_reading:
            return "reading"
        return "all-reduce" if self.exposed > self.compute else "compute"


def ring_seconds(gpus: int, size: float, bandwidth: float, latency: float) -> float:
    """Return the seconds of a ring's all-reduce.

    Args:
        gpus: in the ring.
        size: bytes to reduce.
        bandwidth: bytes a second that each sends.
        latency: seconds of each of the 2 (gpus - 1) messages.
    """
    return 2 * (gpus - 1) / gpus * size / bandwidth + 2 * (gpus - 1) * latency


def gradient_bytes(training: Training, inputs: dict[str, Any]) -> float:
    """Return the bytes of the gradients of the student and its projections."""
    narrow, wide, projections = training.features
    parameters = inputs["models"][training.student]["parameters"] + projections * narrow * wide
    return GRADIENT_BYTES * parameters


def step_of(
    training: Training, gpus: int, batch_size: float, cluster: Cluster, inputs: dict[str, Any]
) -> Step:
    """Return what a step takes with so many images on each GPU."""
    costs, peak = inputs["models"], cluster.peak * 1e12
    student = costs[training.student]["macs"] * batch_size / (peak * training.use[0])
    teacher = 0.0
    if training.teacher:
        teacher = costs[training.teacher]["macs"] * batch_size / (peak * training.use[1])
    size = gradient_bytes(training, inputs)
    bandwidth = 1e9 * (cluster.nvlink if gpus <= cluster.node else cluster.nic)
    all_reduce = ring_seconds(gpus, size, bandwidth, 1e-6 * cluster.latency)
    last = min(1.0, BUCKET / size)
    hidden = min(all_reduce * (1 - last), BACKWARD * student)
    return Step(
        compute=(FORWARD + BACKWARD) * student + FORWARD * teacher,
        all_reduce=all_reduce,
        exposed=all_reduce - hidden,
        reading=batch_size / (cluster.cores * inputs["images_per_second"][training.recipe]),
    )


def hours(training: Training, gpus: int, batch_size: float, step: Step) -> float:
    """Return the hours of the recipe's epochs, without evaluations."""
    updates = recipe(training.recipe).epochs * training.images / (gpus * batch_size)
    return updates * step.seconds / 3600


def row(training: Training, gpus: int, cluster: Cluster, inputs: dict[str, Any]) -> list[str]:
    """Return the cells of a number of GPUs."""
    usual = recipe(training.recipe)
    images = gpus * training.batch_size
    step = step_of(training, gpus, training.batch_size, cluster, inputs)
    speed = inputs["images_per_second"][training.recipe]
    store = 0 if training.teacher else inputs["store_bytes"]
    own = usual.lr_reference_batch / gpus
    at_papers = "–"
    if own >= 1:
        at_papers = (
            f"{hours(training, gpus, own, step_of(training, gpus, own, cluster, inputs)):.2g}"
        )
    return [
        f"{gpus}",
        f"{images:,}" + (" †" if images > training.largest else ""),
        f"{usual.lr * images / usual.lr_reference_batch:.1e}",
        f"{1e3 * step.compute:.1f}",
        f"{1e3 * step.all_reduce:.1f} ({1e3 * step.exposed:.1f})",
        f"{1e3 * step.reading:.1f}",
        f"{1e3 * step.seconds:.1f}",
        step.bound,
        f"{math.ceil(training.batch_size / (speed * step.without_reading))}",
        f"{images * (training.image_bytes + store) / step.seconds / 1e9:.2f}",
        f"{hours(training, gpus, training.batch_size, step):.2g}",
        at_papers,
    ]


HEADINGS = (
    "GPUs", "images a step", "rate", "compute", "all-reduce (exposed)", "reading", "step",
    "bound by", "cores a GPU to keep up", "GB/s of files", "hours", "hours, paper's batch",
)  # fmt: skip


def tables(
    cluster: Cluster,
    inputs: dict[str, Any],
    trainings: Sequence[Training] = TRAININGS,
    gpus: Sequence[int] = GPUS,
) -> str:
    """Return a Markdown table of each training; times of a step are in milliseconds."""
    parts = []
    for training in trainings:
        epochs = recipe(training.recipe).epochs
        title = f"**{training.title}**, {training.batch_size} images a GPU, {epochs} epochs:"
        rows = [list(HEADINGS), ["---"] * len(HEADINGS)]
        rows += [row(training, count, cluster, inputs) for count in gpus]
        parts += [title, "\n".join(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument(
        "--use", type=float, nargs=2, metavar=("STUDENT", "TEACHER"),
        help="utilisation of the peak, for all trainings",
    )  # fmt: skip
    for item in fields(Cluster):
        parser.add_argument(f"--{item.name}", type=type(item.default), default=item.default)
    flags = parser.parse_args()
    cluster = Cluster(**{item.name: getattr(flags, item.name) for item in fields(Cluster)})
    trainings = [replace(t, use=tuple(flags.use or t.use)) for t in TRAININGS]
    print(tables(cluster, json.loads(INPUTS.read_text()), trainings, flags.gpus))


if __name__ == "__main__":
    main()

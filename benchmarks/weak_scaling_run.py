"""One training of weak_scaling.py, in one of its processes."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import timm
import torch
from accelerate.utils import gather_object, set_seed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

import vkd
from vkd.detection import canvases
from vkd.recipe import recipe
from vkd.tasks import task_of
from vkd.training.accelerator import make_accelerator
from vkd.training.spec import resolve
from vkd.training.task import Objects, Task
from vkd.training.trainer import Trainer

EPOCHS, TIMED = 2, 10
CANVASES = {"train": 160, "validation": 10, "test": 10}
# Plain gradient descent, as Adam turns rounding noise on vanishing gradients into whole steps.
SHARED: dict[str, Any] = {
    "optimizer": "sgd", "lr": 0.02, "epochs": EPOCHS, "warmup_epochs": 0, "device": "cpu",
    "trackers": "", "evaluate_every": EPOCHS, "checkpoint_every": EPOCHS, "ema_decay": 0.9,
}  # fmt: skip

Case = tuple[str, Objects, dict[str, Any]]


@dataclass
class Outcome:
    """What a training came to, over all its processes.

    Attributes:
        terms: each update's loss terms, averaged over processes.
        epochs: the images of each epoch.
        images: number of images to train on.
        weights: the first process's final state.
        moved: the largest change of a weight.
        differing: what is not bit-equal on all processes, of weights, averages and metrics.
        is_apart: whether every process draws random numbers of its own.
        steps_per_second: of the first process, in training.
        communication: share of a step.
    """

    terms: list[dict[str, float]]
    epochs: list[list[int]]
    images: int
    weights: dict[str, Tensor]
    moved: float
    differing: list[str]
    is_apart: bool
    steps_per_second: float
    communication: float


def classification(folder: Path) -> Case:
    """Return a recipe, objects and changes, without BatchNorm: its batch is a process's own."""
    student = VisionTransformer(
        8, 2, 1, 10, embed_dim=32, depth=2, num_heads=2, class_token=False, global_pool="avg",
        fc_norm=False,
    )  # fmt: skip
    changes = {"student_layer": "norm", "feature_weight": 1.0, "logit_weight": 1.0}
    return "digits", Objects(student=student, teacher=timm.create_model("cnn_digits")), changes


def detection(folder: Path) -> Case:
    """Return a recipe, objects and changes, whose tokens are normalised one by one."""
    canvases.SIZES.update(CANVASES)
    teacher = vkd.create_model("vidt_digits_large", num_classes=10)
    changes = {"normalization": "layer_norm", "lr": 1e-4}
    return "digits-detection", Objects(teacher=teacher), changes


def generation(folder: Path) -> Case:
    """Return a recipe, objects and changes."""
    extractor = folder / "extractor.safetensors"
    changes = {
        "channels": 4,
        "noise_dim": 8,
        "samples": 100,
        "fraction": 0.5,
        "optimizer": "adam",
        "lr": 1e-3,
    }
    given = {"extractor_checkpoint": str(extractor), "feature_weight": 0.0}
    return "gan-digits", Objects(), changes | given


CASES: dict[str, Callable[[Path], Case]] = {
    "classification": classification,
    "detection": detection,
    "generation": generation,
}


def outcome(case: str, batch_size: int, folder: Path) -> Outcome:
    """Train a case in this process and in those that torchrun started with it.

    Args:
        case: its name.
        batch_size: images a step of each process.
        folder: of all runs.
    """
    set_seed(0)
    name, objects, changes = CASES[case](folder)
    values = SHARED | changes | {"batch_size": batch_size, "objects": objects.given()}
    config = recipe(name, **values)
    accelerator = make_accelerator(config)
    run = folder / f"{case}-{batch_size}-{accelerator.num_processes}"
    run.mkdir(exist_ok=True)
    task: Task = resolve(task_of(config).task)(config, objects)
    set_seed(config.seed, device_specific=True)
    trainer = Trainer(task, config, run, accelerator, show=False)
    watched = Watched(task)
    begun = {name: p.detach().clone() for name, p in task.steps[0].module.named_parameters()}
    metrics = trainer.fit()
    terms, images, moments = watched.terms, watched.images, watched.moments
    watched.close()
    everyone = gather_object([(terms, images)])
    length = len(terms) // EPOCHS
    state = task.steps[0].module.state_dict()
    average = trainer._ema.module.state_dict()
    # Batch statistics are each process's own until the next step, or evaluation, sends the first's.
    weights = {
        f"{place}.{name}": parameter.detach()
        for place, step in enumerate(task.steps)
        for name, parameter in step.module.named_parameters()
    }
    equal = {"weights": weights, "averages": average, "metrics": metrics}
    return Outcome(
        terms=[_mean([of[update] for of, _ in everyone]) for update in range(len(terms))],
        epochs=[
            [image for _, of in everyone for batch in of[first : first + length] for image in batch]
            for first in range(0, len(terms), length)
        ],
        images=len(trainer.train_batches.dataset),
        weights={name: value.clone() for name, value in state.items()},
        moved=max((state[name] - value).abs().max().item() for name, value in begun.items()),
        differing=[name for name, values in equal.items() if not _is_everywhere(values)],
        is_apart=len(set(gather_object([torch.rand(()).item()]))) == accelerator.num_processes,
        steps_per_second=1 / median(after - before for before, after in pairwise(moments)),
        communication=share_of_communication(trainer),
    )


class Watched:
    """Keeps each update's ``terms``, the numbers of its ``images``, and when it began."""

    def __init__(self, task: Task) -> None:
        self.terms: list[dict[str, float]] = []
        self.images: list[list[int]] = []
        self.moments: list[float] = []
        self._first = task.steps[0].module
        self._hooks = [
            step.module.register_forward_hook(self._keep, with_kwargs=True) for step in task.steps
        ]

    def _keep(self, module: Any, args: Any, kwargs: Any, found: Any) -> None:
        if kwargs.get("predict"):
            return
        if module is self._first:
            self.moments.append(time.perf_counter())
            self.images.append(_numbers(args[0]))
            self.terms.append({})
        self.terms[-1] |= {name: float(term.detach()) for name, term in found.items()}

    def close(self) -> None:
        """Watch no longer."""
        for hook in self._hooks:
            hook.remove()


def _numbers(batch: Any) -> list[int]:
    """The numbers of a batch's images."""
    if isinstance(batch, dict):
        return [int(target["image_id"]) for target in batch["targets"]]
    return batch[2].tolist()


def _mean(terms: list[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(of[name] for of in terms) for name in terms[0]}


def _is_everywhere(values: dict[str, Any]) -> bool:
    """Whether all processes hold the same numbers, bit for bit."""
    found = blake2b()
    for name, value in values.items():
        found.update(name.encode() + torch.as_tensor(value).contiguous().numpy().tobytes())
    return len(set(gather_object([found.hexdigest()]))) == 1


def share_of_communication(trainer: Trainer) -> float:
    """Return the share of a step of the first module that synchronising its gradients takes."""
    if trainer.accelerator.num_processes == 1:
        return 0.0
    module, batch = trainer.modules[0].train(), next(iter(trainer.train_batches))
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(TIMED):
        for is_alone, seconds in times.items():
            began = time.perf_counter()
            with module.no_sync() if is_alone else nullcontext():
                torch.stack(list(module(batch).values())).sum().backward()
            seconds.append(time.perf_counter() - began)
            module.zero_grad()
    return 1 - median(times[True]) / median(times[False])

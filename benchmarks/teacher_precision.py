"""What a teacher in bfloat16 costs in loss, and gains in speed.

    python benchmarks/teacher_precision.py

A step of the paper's recipe (DeiT-Ti, RegNetY-160 with random weights, as errors of rounding and
times hardly depend on them; no mixing) with each precision of the teacher. The baseline, in the
same run and alternating, is float32 as PyTorch lays images out. Beside ``vkd``'s way, autocast, is
a copy whose weights are cast. Errors are relative: the norm of a difference from the baseline's
over the baseline's norm.

Then students of a trained teacher of digits that runs in every step, in float32 and in bfloat16:
accuracy on the test split, paired by seed. ``--dataset fashion-mnist`` takes longer.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import vkd
from vkd.classification.config import ClassificationConfig
from vkd.classification.module import ClassificationModule
from vkd.classification.task import ClassificationTask
from vkd.precision import FLOAT32, STATED, Precision
from vkd.recipe import config_of, read_recipe
from vkd.reporting.environment import environment
from vkd.reporting.statistics import mean_and_deviation, paired_interval
from vkd.teacher import NetworkTeacher, Teacher, TeacherOutput
from vkd.training.task import Objects

RESULTS = Path(__file__).parent / "results" / "teacher_precision.json"
CLASSES = 1000
BFLOAT16 = STATED["bfloat16"]
CAST = "a copy cast to bfloat16 with channels last"


class CastTeacher:
    """A copy of a network with weights and images in bfloat16, for comparison.

    Args:
        model: the network.
        layer: whose output is the features.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        copy = deepcopy(model).to(torch.bfloat16, memory_format=torch.channels_last)
        self.teacher = NetworkTeacher(copy, layer)

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs in float32."""
        cast_images = images.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        return self.teacher(cast_images).each(Tensor.float)


def teachers_of(model: nn.Module, layer: str) -> dict[str, Teacher]:
    """Return a network as teacher in each precision, the baseline first."""
    precisions = (
        FLOAT32,
        FLOAT32._replace(channels_last=True),
        Precision(torch.bfloat16),
        BFLOAT16,
    )
    found: dict[str, Teacher] = {}
    for precision in precisions:
        teacher = NetworkTeacher(model, layer)
        teacher.precision = precision
        found[str(precision)] = teacher
    return found | {CAST: CastTeacher(model, layer)}


def paper_step(
    student: str, teacher: str, side: int
) -> tuple[ClassificationModule, nn.Module, str]:
    """Return the paper's step without mixing, its teacher's network and layer."""
    torch.manual_seed(0)
    network = timm.create_model(teacher, num_classes=CLASSES)
    values = read_recipe("deit-tiny-imagenet") | {
        "mixup": 0.0, "cutmix": 0.0, "student": student, "teacher": teacher,
        "objects": {"teacher": "network", "data": "tensors"}, "augmentation": "none",
        "color_jitter": 0.0, "flip": False, "student_layer": "norm", "workers": 0,
    }  # fmt: skip
    config = cast(ClassificationConfig, config_of(values))
    images = TensorDataset(torch.zeros(2, 3, side, side), torch.arange(2))
    data = vkd.splits_of(images, images, classes=CLASSES)
    task = ClassificationTask(config, Objects(teacher=network, data=data))
    return cast(ClassificationModule, task.steps[0].module), network, config.teacher_layer


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the relative distance of a tensor from what it should be."""
    return float((found - expected).norm() / expected.norm())


def losses_and_gradient(
    module: ClassificationModule, batch: Any
) -> tuple[dict[str, float], Tensor]:
    """Return the loss terms of a step and all of its gradients in one vector."""
    module.zero_grad()
    terms = module(batch)
    torch.stack(list(terms.values())).sum().backward()
    parts = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return {name: float(term.detach()) for name, term in terms.items()}, torch.cat(parts)


def alternating(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each function, called in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(rounds + 1):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if index:  # the first time to warm up
                times[name].append(time.perf_counter() - began)
    return {name: median(every) for name, every in times.items()}


def compare_step(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return errors and times of a step by precision, in units of the student's step alone."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module, network, layer = paper_step(arguments.student, arguments.teacher, arguments.side)
    module.to(device).train()
    count = arguments.batch_size
    images = torch.randn(count, 3, arguments.side, arguments.side, device=device)
    labels = torch.randint(CLASSES, (count,), device=device)
    batch = (images, labels, torch.arange(count, device=device))
    distillation = module.distillation
    assert distillation is not None
    found: dict[str, dict[str, float]] = {}
    baseline: tuple[TeacherOutput, dict[str, float], Tensor] | None = None
    teachers = teachers_of(network, layer)
    for name, teacher in teachers.items():
        distillation.teacher = teacher
        output = teacher(images)
        terms, gradient = losses_and_gradient(module, batch)
        baseline = baseline or (output, terms, gradient)
        expected, losses, before = baseline
        assert output.logits is not None
        assert expected.logits is not None
        row = {
            "features": distance(output.only, expected.only),
            "logits": distance(output.logits, expected.logits),
            "gradient": distance(gradient, before),
        }
        found[name] = row | {
            f"loss {term}": abs(terms[term] - value) / abs(value) for term, value in losses.items()
        }
    for name, row in step_times(module, batch, teachers, arguments.rounds).items():
        found[name] |= row
    return found


def step_times(
    module: ClassificationModule, batch: Any, teachers: dict[str, Teacher], rounds: int
) -> dict[str, dict[str, float]]:
    """Return the seconds of a teacher's pass, and of a step as a multiple of the student's."""
    distillation = module.distillation
    assert distillation is not None

    def step(teacher: Teacher | None) -> None:
        module.distillation = distillation if teacher else None
        if teacher:
            distillation.teacher = teacher
        losses_and_gradient(module, batch)

    functions: dict[str, Callable[[], Any]] = {"student alone": lambda: step(None)}
    for name, teacher in teachers.items():
        functions[f"pass, {name}"] = lambda teacher=teacher: teacher(batch[0])
        functions[f"step, {name}"] = lambda teacher=teacher: step(teacher)
    seconds = alternating(functions, rounds)
    alone, plain = seconds["student alone"], seconds[f"pass, {FLOAT32}"]
    return {
        name: {
            "teacher seconds": seconds[f"pass, {name}"],
            "teacher speed": plain / seconds[f"pass, {name}"],
            "step": seconds[f"step, {name}"] / alone,
        }
        for name in teachers
    }


def compare_students(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the test accuracy of students by the precision of their teacher, by seed."""
    changes: dict[str, Any] = {"trackers": "", "device": arguments.device}
    if arguments.data_path:
        changes["data_path"] = arguments.data_path
    if arguments.epochs:
        changes |= {"epochs": arguments.epochs, "warmup_epochs": 0}
    vkd.train(f"{arguments.dataset}-teacher", folder / "teacher", show=False, **changes)
    # Augmented, as a teacher of images that never change runs once.
    changes |= {"teacher_checkpoint": str(folder / "teacher"), "crop_padding": 1}
    scores: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for seed in range(arguments.seeds):
        for precision, values in scores.items():
            run = folder / f"{precision}-{seed}"
            own = changes | {"teacher_precision": precision, "seed": seed}
            vkd.train(arguments.dataset, run, show=False, **own)
            values.append(vkd.evaluate(run, device=arguments.device)["accuracy"])
    teacher = vkd.evaluate(folder / "teacher", device=arguments.device)["accuracy"]
    return {"dataset": arguments.dataset, "teacher": teacher, "accuracy": scores}


def show_step(step: dict[str, dict[str, float]]) -> None:
    """Print a table of the step."""
    columns = list(next(iter(step.values())))
    print(f"| teacher | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, row in step.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.3g}' for column in columns)} |", flush=True)


def show_students(students: dict[str, Any]) -> None:
    """Print what students reached."""
    scores = students["accuracy"]
    print(f"\n{students['dataset']}, teacher {students['teacher']:.2f} %, accuracy on test:")
    for name, values in scores.items():
        mean, deviation = mean_and_deviation(values)
        print(f"{name}: {mean:.2f} +- {deviation:.2f} ({len(values)} seeds)")
    if len(scores["float32"]) > 1:
        found = paired_interval(scores["bfloat16"], scores["float32"])
        print(f"bfloat16 minus float32: {found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})")


def main() -> None:
    """Compare a step and students, print both and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="deit_ti_distilled")
    parser.add_argument("--teacher", default="regnety_160")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dataset", default="digits", choices=("digits", "fashion-mnist"))
    parser.add_argument("--data-path", default="", help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0, help="0 for the recipes' own")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    step = compare_step(arguments)
    show_step(step)
    with tempfile.TemporaryDirectory() as name:
        students = compare_students(arguments, Path(name))
    show_students(students)
    settings = {k: str(v) for k, v in vars(arguments).items() if k not in ("output", "data_path")}
    content = {
        "environment": environment(),
        "settings": settings,
        "threads": torch.get_num_threads(),
    }
    arguments.output.write_text(
        json.dumps(content | {"step": step, "students": students}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()

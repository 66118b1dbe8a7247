"""The command of the paper's release for DeiT on ImageNet, carried out by vkd.

    torchrun --nproc_per_node=1 main_distributed.py --teacher regnety_160 \\
        --student-model deit_ti_distilled --batch-size 512 --data-path IMAGENET --output_dir output/

It takes the release's flags with the release's defaults, translates them to fields of a recipe, and
calls what ``vkd train`` and ``vkd eval`` call. A flag that has no effect is named in a warning.
"""

import argparse
import sys
from typing import Any

from vkd.classification.config import ClassificationConfig
from vkd.cli.release_logs import deit_logs
from vkd.cli.translation import (
    Translation,
    check_start_epoch,
    run_command,
    train_by_flags,
    without_teacher_weights,
)
from vkd.errors import UserError, nearest

FIELDS = {
    "--teacher": "teacher",
    "--teacher-path": "teacher_checkpoint",
    "--batch-size": "batch_size",
    "--epochs": "epochs",
    "--data-path": "data_path",
    "--input-size": "input_size",
    "--eval-crop-ratio": "evaluation_crop",
    "--num_workers": "workers",
    "--lr": "lr",
    "--min-lr": "min_lr",
    "--weight-decay": "weight_decay",
    "--warmup-epochs": "warmup_epochs",
    "--opt": "optimizer",
    "--sched": "schedule",
    "--clip-grad": "clip_grad",
    "--mixup": "mixup",
    "--cutmix": "cutmix",
    "--mixup-prob": "mixup_probability",
    "--mixup-switch-prob": "mixup_switch_probability",
    "--mixup-mode": "mixup_mode",
    "--smoothing": "label_smoothing",
    "--color-jitter": "color_jitter",
    "--alpha": "feature_weight",
    "--gamma": "logit_weight",
}
# What the release does where a flag is left out, and what it fixes.
DEFAULTS: dict[str, Any] = {
    "teacher": "regnety_160", "teacher_layer": "", "teacher_checkpoint": "hub", "batch_size": 256,
    "epochs": 300, "input_size": 224, "evaluation_crop": 0.875, "workers": 12, "lr": 5e-4,
    "lr_reference_batch": 512, "min_lr": 5e-6, "weight_decay": 0.05, "warmup_epochs": 0,
    "optimizer": "adamw", "schedule": "cosine", "clip_grad": 0.0, "mixup": 0.8, "cutmix": 1.0,
    "mixup_probability": 1.0, "mixup_switch_probability": 0.5, "mixup_mode": "batch",
    "label_smoothing": 0.1, "color_jitter": 0.3, "feature_weight": 1.0, "logit_weight": 1.0,
    "augmentation": "three-augment", "crop": "random", "seed": 14159265,
    "log_every": 10,
}  # fmt: skip
DATASETS = {"IMNET": "folder", "CIFAR": "cifar100"}
# Names of the release, by those of timm.
STUDENTS = {
    "deit_ti": "deit_tiny_patch16_224",
    "deit_s": "deit_small_patch16_224",
    "deit_b": "deit_base_patch16_224",
}
OWN = {
    "--student-model": "deit_ti_distilled, deit_s_distilled, deit_b_distilled, or a model of timm",
    "--student-ckpt": "weights to evaluate, or to start training from",
    "--data-set": f"{' or '.join(DATASETS)} [IMNET]",
    "--output_dir": "run folder",
    "--resume": "a checkpoint of the release (.pth.tar), or a run folder, to go on with",
    "--start_epoch": "0, or the epoch of --resume",
}
LISTS = {"--cutmix-minmax": "smallest and largest side of cutmix's patch, for sides drawn by it"}
SWITCHES = {
    "--eval-student": "evaluate --student-ckpt",
    "--eval": "evaluate --student-ckpt or the run folder --resume",
    "--bce-loss": "binary cross-entropy with the labels",
    "--unscale-lr": "the rate does not grow with the images of a step",
    "--src": "resize, then crop with 4 pixels of reflection",
    "--disable-gray-solar-and-blur": "colours change by --color-jitter alone",
    "--student-ema": "evaluate averaged weights",
    "--no-student-ema": "evaluate the weights themselves (as ever)",
    "--pin-mem": "pinned memory with CUDA (as ever)",
    "--no-pin-mem": "no pinned memory",
}
# What has no effect in the release either.
IGNORED = (
    "--drop", "--drop-path", "--student-ema-decay", "--student-ema-force-cpu", "--opt-eps",
    "--opt-betas", "--momentum", "--lr-noise", "--lr-noise-pct", "--lr-noise-std", "--warmup-lr",
    "--decay-epochs", "--cooldown-epochs", "--patience-epochs", "--decay-rate", "--aa",
    "--train-interpolation", "--repeated-aug", "--no-repeated-aug", "--train-mode",
    "--no-train-mode", "--reprob", "--remode", "--recount", "--resplit", "--subset", "--device",
    "--seed", "--dist-eval",
)  # fmt: skip
LAUNCHERS = ("--dist_url", "--world_size", "--local-rank", "--local_rank")
TRANSLATION = Translation(
    "main_distributed.py", __doc__, ClassificationConfig, FIELDS, OWN, SWITCHES, LISTS, IGNORED,
    silent=LAUNCHERS, spellings={"--decay-rate": ("--dr",)},
    others={"student": "--student-model", "dataset": "--data-set"},
)  # fmt: skip


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags, and the recipe's fields that they set.

    Raises:
        UserError: for a flag that the release does not have, or a wrong value.
    """
    flags, given = TRANSLATION.parse(arguments)
    values = DEFAULTS | given
    values["student"] = _student(flags.student_model)
    values["dataset"] = _dataset(flags.data_set or "IMNET")
    check_start_epoch(flags)
    if flags.cutmix_minmax is not None:
        values["cutmix_min"], values["cutmix_max"] = _sides(flags.cutmix_minmax)
    if flags.unscale_lr:
        values["lr_reference_batch"] = 0
    if flags.src:
        values["crop"] = "simple"
    if flags.disable_gray_solar_and_blur:
        values["augmentation"] = "none"
    if flags.student_ema:
        # The momentum rises to 1 over all updates.
        values |= {"ema_decay": 0.996, "ema_decay_end": 1.0}
    if flags.no_pin_mem:
        values["pin_memory"] = False
    if flags.bce_loss:
        values |= {"label_loss": "binary_cross_entropy", "label_smoothing": 0.0}
        print(
            "vkd: --bce-loss takes --smoothing as 0; with more, every class would be a target.",
            file=sys.stderr,
        )
    if flags.student_ckpt and not (flags.eval_student or flags.eval):
        values["student_checkpoint"] = flags.student_ckpt
    return flags, values


def _student(name: str | None) -> str:
    if not name:
        raise UserError("--student-model is needed; the release's default is none of its models.")
    if name in STUDENTS:
        print(f"vkd: --student-model {name} is timm's {STUDENTS[name]}.", file=sys.stderr)
    return STUDENTS.get(name, name)


def _dataset(name: str) -> str:
    if name not in DATASETS:
        raise UserError(
            f"--data-set must be {' or '.join(DATASETS)}, found {name!r}{nearest(name, DATASETS)}"
        )
    return DATASETS[name]


def _sides(values: list[str]) -> tuple[float, float]:
    try:
        low, high = map(float, values)
    except ValueError:
        found = " ".join(values) or "nothing"
        raise UserError(f"--cutmix-minmax must be two numbers, found {found}.") from None
    if not 0 <= low < high <= 1:
        raise UserError(f"--cutmix-minmax must rise within 0 to 1, found {low:g} {high:g}.")
    return low, high


def run(arguments: list[str]) -> None:
    """Train or evaluate as the flags say."""
    flags, values = parse(arguments)
    recipe = "deit-tiny-imagenet"
    from vkd.api.evaluate import evaluate
    from vkd.api.train import end_processes
    from vkd.cli.commands import print_metrics

    if flags.eval_student or flags.eval:
        weights = flags.student_ckpt or (flags.resume if flags.eval else None)
        if not weights:
            name = "--eval-student" if flags.eval_student else "--eval"
            raise UserError(f"{name} needs --student-ckpt, the weights to evaluate.")
        values = without_teacher_weights(values, "--teacher-path")
        print_metrics(evaluate(weights, recipe, **values))
    else:
        train_by_flags(flags, recipe, values, lambda _: deit_logs())
    end_processes()


def main() -> int:
    """Run with the process's arguments and return the exit code."""
    return run_command(TRANSLATION, run)


if __name__ == "__main__":
    sys.exit(main())

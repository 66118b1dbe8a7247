"""The command of the paper's release for DeiT on ImageNet, carried out by vkd.

    torchrun --nproc_per_node=1 main_distributed.py --teacher regnety_160 \\
        --student-model deit_ti_distilled --batch-size 512 --data-path IMAGENET --output_dir output/

It takes the release's flags, translates them to fields of a recipe, and calls what ``vkd train``
and ``vkd eval`` call. A flag that had no effect in the release is named in a warning.
"""

import argparse
import sys
from typing import Any

from vkd.classification.config import ClassificationConfig
from vkd.cli.translation import Translation, run_command, train_by_flags
from vkd.errors import UserError

RECIPES = {"deit_ti_distilled": "deit-tiny-imagenet"}
FIELDS = {
    "--teacher": "teacher",
    "--student-model": "student",
    "--batch-size": "batch_size",
    "--epochs": "epochs",
    "--data-path": "data_path",
    "--input-size": "input_size",
    "--num_workers": "workers",
    "--seed": "seed",
    "--lr": "lr",
    "--min-lr": "min_lr",
    "--weight-decay": "weight_decay",
    "--warmup-epochs": "warmup_epochs",
    "--opt": "optimizer",
    "--sched": "schedule",
    "--clip-grad": "clip_grad",
    "--drop-path": "drop_path",
    "--mixup": "mixup",
    "--cutmix": "cutmix",
    "--smoothing": "label_smoothing",
    "--color-jitter": "color_jitter",
    "--alpha": "feature_weight",
    "--gamma": "logit_weight",
    "--teacher-path": "teacher_checkpoint",
    "--model-ema-decay": "ema_decay",
    "--device": "device",
}
OWN = {
    "--student-ckpt": "weights to evaluate",
    "--output_dir": "run folder",
    "--resume": "a run folder to go on with",
}
SWITCHES = {
    "--eval-student": "evaluate --student-ckpt",
    "--repeated-aug": "three augmented views of an image in an epoch",
    "--no-repeated-aug": "one view of an image (as ever)",
    "--ThreeAugment": "grey, solarise or blur (as ever)",
    "--model-ema": "evaluate averaged weights",
    "--no-model-ema": "evaluate the weights themselves (as ever)",
    "--dist-eval": "evaluate on all processes (as ever)",
    "--pin-mem": "pinned memory (as ever, with CUDA)",
    "--no-pin-mem": "no pinned memory",
}
# These had no effect in the release, or name what it did not do; the recipe does without.
IGNORED = (
    "--aa", "--reprob", "--remode", "--recount", "--resplit", "--opt-eps", "--opt-betas",
    "--momentum", "--lr-noise", "--lr-noise-pct", "--lr-noise-std", "--warmup-lr",
    "--decay-epochs", "--cooldown-epochs", "--patience-epochs", "--decay-rate", "--decay-lr",
    "--train-interpolation", "--mixup-prob", "--mixup-switch-prob", "--mixup-mode",
    "--cutmix-minmax", "--drop", "--world_size", "--world-size", "--dist_url", "--dist-url",
    "--dist-backend", "--start_epoch", "--crop-ratio", "--model-ema-force-cpu", "--print-freq",
    "--data-set", "--gpu", "--rank",
)  # fmt: skip
TRANSLATION = Translation(
    "main_distributed.py", __doc__, ClassificationConfig, FIELDS, OWN, SWITCHES, IGNORED
)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags, and the recipe's fields that they set.

    Raises:
        UserError: for a flag that the release does not have, or a wrong value.
    """
    flags, values = TRANSLATION.parse(arguments)
    if "teacher" in values:
        values["teacher_layer"] = ""  # its last, whatever it is called
    if flags.repeated_aug:
        values["repeated_augmentation"] = 3
    if flags.model_ema:
        values.setdefault("ema_decay", 0.99996)
    elif "ema_decay" in values:
        del values["ema_decay"]
        print("vkd: --model-ema-decay has no effect without --model-ema.", file=sys.stderr)
    return flags, values


def run(arguments: list[str]) -> None:
    """Train or evaluate as the flags say."""
    flags, values = parse(arguments)
    recipe = RECIPES.get(values.get("student", "deit_ti_distilled"), "deit-small-imagenet")
    from vkd.api.evaluate import evaluate
    from vkd.api.train import end_processes
    from vkd.cli.commands import print_metrics

    if flags.eval_student:
        if not flags.student_ckpt:
            raise UserError("--eval-student needs --student-ckpt, the weights to evaluate.")
        print_metrics(evaluate(flags.student_ckpt, recipe, **values))
    else:
        if flags.student_ckpt:
            raise UserError("--student-ckpt is for --eval-student; to go on training use --resume.")
        train_by_flags(flags, recipe, values)
    end_processes()


def main() -> int:
    """Run with the process's arguments and return the exit code."""
    return run_command(TRANSLATION, run)


if __name__ == "__main__":
    sys.exit(main())

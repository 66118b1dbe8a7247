"""The command of the paper's release for DeiT on ImageNet, carried out by vkd.

    torchrun --nproc_per_node=1 main_distributed.py --teacher regnety_160 \\
        --student-model deit_ti_distilled --batch-size 512 --data-path IMAGENET --output_dir output/

It takes the release's flags, translates them to fields of a recipe, and calls what ``vkd train``
and ``vkd eval`` call. A flag that had no effect in the release is named in a warning.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from vkd.config import ClassificationConfig, config_of, read_recipe
from vkd.errors import RunError, UserError, nearest

RECIPES = {"deit_ti_distilled": "deit-tiny-imagenet"}
# Flag of the release: field of a recipe.
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
    "--data-set", "--local_rank", "--local-rank", "--gpu", "--rank",
)  # fmt: skip
_SILENT = ("--local_rank", "--local-rank")  # set by torch's launcher, not by users


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one sentence."""

    def error(self, message: str) -> Any:
        raise UserError(message + ".")


def make_parser() -> Parser:
    """Return the parser of the release's flags."""
    kinds = {f.name: f.type for f in ClassificationConfig.__dataclass_fields__.values()}
    parser = Parser(prog="main_distributed.py", description=__doc__, allow_abbrev=False)
    for flag, field in FIELDS.items():
        kind = kinds[field] if kinds[field] in (int, float) else str
        aliases = [flag.replace("_", "-")] if "_" in flag else []
        parser.add_argument(flag, *aliases, dest=field, type=kind, help=f"recipe: {field}")
    for flag, text in OWN.items():
        parser.add_argument(flag, flag.replace("_", "-"), help=text)
    for flag, text in SWITCHES.items():
        parser.add_argument(flag, action="store_true", help=text)
    for flag in IGNORED:
        parser.add_argument(flag, nargs="*", dest="ignored" + flag, help="no effect")
    return parser


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags, and the recipe's fields that they set.

    Raises:
        UserError: for a flag that the release does not have, or a wrong value.
    """
    parser = make_parser()
    flags, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].split("=")[0]
        known = [*FIELDS, *OWN, *SWITCHES, *IGNORED]
        raise UserError(f"There is no flag {flag} of main_distributed.py{nearest(flag, known)}")
    for flag in IGNORED:
        if getattr(flags, "ignored" + flag) is not None and flag not in _SILENT:
            print(f"vkd: {flag} has no effect, as in the release.", file=sys.stderr)
    values = {f: v for f in FIELDS.values() if (v := getattr(flags, f)) is not None}
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
    from vkd import tasks
    from vkd.cli.commands import print_metrics

    if flags.eval_student:
        if not flags.student_ckpt:
            raise UserError("--eval-student needs --student-ckpt, the weights to evaluate.")
        print_metrics(tasks.evaluate(flags.student_ckpt, recipe, **values))
    else:
        if flags.student_ckpt:
            raise UserError("--student-ckpt is for --eval-student; to go on training use --resume.")
        config = config_of(read_recipe(recipe) | values)
        folder = Path(flags.resume or flags.output_dir or "output/")
        print_metrics(tasks.train(config, folder, resume=bool(flags.resume)))
    tasks.end_processes()


def main() -> int:
    """Run with the process's arguments and return the exit code."""
    try:
        run(sys.argv[1:])
    except (UserError, RunError) as error:
        print(f"main_distributed.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

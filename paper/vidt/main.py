"""The command of the paper's release for ViDT on COCO, carried out by vkd.

    torchrun --nproc_per_node=8 main.py --method vidt --backbone_name swin_nano --epochs 50 \\
        --batch_size 2 --aux_loss True --with_box_refine True --distil_model vidt_base \\
        --distil_model_path CKPT --coco_path COCO --output_dir swin_nano

It takes the release's flags with the release's defaults, translates them to fields of a recipe, and
calls what ``vkd train`` and ``vkd eval`` call. A flag that has no effect is named in a warning.
"""

import argparse
import sys
from typing import Any

from vkd.cli.release_logs import vidt_logs
from vkd.cli.translation import (
    Translation,
    check_start_epoch,
    release_bool,
    run_command,
    train_by_flags,
    without_teacher_weights,
)
from vkd.detection.config import DetectionConfig
from vkd.errors import UserError, nearest

BACKBONES = {
    "swin_nano": "vidt_nano",
    "swin_tiny": "vidt_tiny",
    "swin_small": "vidt_small",
    "swin_base_win7_22k": "vidt_base",
    "swin_large_win7_22k": "vidt_large",
    "coat_lite_tiny": "vidt_coat_lite_tiny",
    "coat_lite_mini": "vidt_coat_lite_mini",
    "coat_lite_small": "vidt_coat_lite_small",
}
SCHEDULES = {"warmupcos": "cosine", "step": "step"}
FIELDS = {
    "--method": "architecture",
    "--epochs": "epochs",
    "--lr": "lr",
    "--min-lr": "min_lr",
    "--weight_decay": "weight_decay",
    "--batch_size": "batch_size",
    "--n_iter_to_acc": "accumulation",
    "--num_workers": "workers",
    "--clip_max_norm": "clip_grad",
    "--lr_drop": "decay_epochs",
    "--decay-rate": "decay_rate",
    "--warmup-epochs": "warmup_epochs",
    "--warmup-lr": "warmup_lr",
    "--aux_loss": "auxiliary_losses",
    "--with_box_refine": "box_refinement",
    "--cross_scale_fusion": "fusion",
    "--det_token_num": "num_det_tokens",
    "--coco_path": "data_path",
    "--eval_size": "short_side",
    "--seed": "seed",
    "--device": "device",
    "--print_freq": "log_every",
    "--distil_model": "teacher",
    "--distil_model_path": "teacher_checkpoint",
    "--distil_loss_coef": "feature_weight",
    "--cls_loss_coef": "class_weight",
    "--bbox_loss_coef": "box_weight",
    "--giou_loss_coef": "giou_weight",
    "--set_cost_class": "class_cost",
    "--set_cost_bbox": "box_cost",
    "--set_cost_giou": "giou_cost",
    "--focal_alpha": "focal_alpha",
    "--eos_coef": "no_object_weight",
}
# What the release does where a flag is left out, and what it fixes.
DEFAULTS: dict[str, Any] = {
    "architecture": "vidt", "epochs": 50, "lr": 1e-4, "min_lr": 1e-7, "weight_decay": 1e-4,
    "decayed": "all", "batch_size": 16, "accumulation": 1, "workers": 2, "clip_grad": 0.1,
    "schedule_step": "epoch", "decay_epochs": 40, "decay_rate": 0.1, "warmup_epochs": 0,
    "warmup_lr": 1e-6, "auxiliary_losses": False, "box_refinement": False, "fusion": False,
    "num_det_tokens": 100, "short_side": 800, "seed": 42, "log_every": 100,
    "feature_weight": 4.0, "class_weight": 2.0, "box_weight": 5.0, "giou_weight": 2.0,
    "class_cost": 2.0, "box_cost": 5.0, "giou_cost": 2.0, "focal_alpha": 0.25,
    "no_object_weight": 0.1, "optimizer": "adamw", "lr_reference_batch": 0, "drop_path": 0.0,
}  # fmt: skip
# Shapes of the detector: our keyword argument, what reads the text, and the release's default.
SHAPES: dict[str, tuple[str, type, Any]] = {
    "--pos_dim": ("position_dim", int, 256),
    "--reduced_dim": ("dim", int, 256),
    "--dec_layers": ("num_layers", int, 6),
    "--nheads": ("num_heads", int, 8),
    "--dec_n_points": ("num_points", int, 4),
    "--dropout": ("dropout", float, 0.1),
}
OWN = {
    "--backbone_name": f"one of {', '.join(BACKBONES)} [swin_tiny]",
    "--pre_trained": "weights of the backbone: imagenet for timm's, none, or a file [imagenet]",
    "--sched": f"{' or '.join(SCHEDULES)} [warmupcos]",
    "--dataset_file": "coco or voc [coco]",
    "--resume": "weights to evaluate; a checkpoint of the release or a run folder to go on with",
    "--start_epoch": "0, or the epoch of --resume",
    "--output_dir": "run folder",
    "--eval": "True to evaluate --resume",
    "--iou_aware": "True to predict each box's overlap",
    "--iouaware_loss_coef": "its weight [2]",
    "--token_label": "True to predict the classes of patches",
    "--token_loss_coef": "its weight [2]",
    "--num_feature_levels": "4, the maps of every body",
    **{flag: f"the detector's {name} [{default}]" for flag, (name, _, default) in SHAPES.items()},
}
# What acts on the neck alone, on outputs of earlier layers, or is fixed without them.
WITHOUT_NECK = (
    "--dec_layers", "--nheads", "--dec_n_points", "--dropout", "--aux_loss", "--with_box_refine",
    "--cross_scale_fusion", "--cls_loss_coef", "--focal_alpha",
)  # fmt: skip
LISTS = {"--cross_indices": "stages in which detection tokens attend to patches [3]"}
# What has no effect in the release either.
IGNORED = (
    "--lr_backbone", "--lr_linear_proj_names", "--lr_linear_proj_mult", "--lr-noise",
    "--lr-noise-pct", "--lr-noise-std", "--position_embedding", "--dim_feedforward",
    "--mask_loss_coef", "--dice_loss_coef", "--coco_panoptic_path", "--remove_difficult",
)  # fmt: skip
LAUNCHERS = (
    "--dist-url", "--dist-backend", "--rank", "--world_size", "--distributed", "--local_rank",
    "--local-rank",
)  # fmt: skip
SPELLINGS = {"--decay-rate": ("--dr",)}
TRANSLATION = Translation(
    "main.py", __doc__, DetectionConfig, FIELDS, OWN, lists=LISTS, ignored=IGNORED,
    silent=LAUNCHERS, spellings=SPELLINGS,
    others={
        "backbone_checkpoint": "--pre_trained", "iou_weight": "--iouaware_loss_coef",
        "token_label_weight": "--token_loss_coef", "student": "--backbone_name",
    },
)  # fmt: skip


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags, and the recipe's fields that they set.

    Raises:
        UserError: for a flag that the release does not have, or a wrong value.
    """
    flags, given = TRANSLATION.parse(arguments)
    values = DEFAULTS | given
    values["student"] = _chosen(flags, "backbone_name", BACKBONES, "swin_tiny")
    values["schedule"] = _chosen(flags, "sched", SCHEDULES, "warmupcos")
    _chosen(flags, "dataset_file", {"coco": "coco", "voc": "coco"}, "coco")
    if _number(flags, "num_feature_levels", int, 4) != 4:
        raise UserError(f"--num_feature_levels must be 4, found {flags.num_feature_levels}.")
    check_start_epoch(flags)
    steps = values["accumulation"]
    if steps < 1 or values["batch_size"] % steps:
        raise UserError(
            f"--n_iter_to_acc must divide --batch_size {values['batch_size']}, found {steps}."
        )
    values["batch_size"] //= steps
    values["backbone_checkpoint"] = _start(flags, values["student"])
    values["student_options"] = _shapes(flags, values["architecture"])
    values |= _extra_heads(flags)
    _leave_out_idle(flags, values)
    if values["architecture"] == "vidt_wo_neck":
        values["class_weight"] = 1.0
    if "teacher" not in values:
        values |= {"teacher": "", "feature_weight": 0.0}
    return flags, values


def _chosen(flags: argparse.Namespace, name: str, known: dict[str, str], default: str) -> str:
    value = getattr(flags, name) or default
    if value not in known:
        raise UserError(
            f"--{name} must be one of {', '.join(known)}, found {value!r}{nearest(value, known)}"
        )
    return known[value]


def _start(flags: argparse.Namespace, student: str) -> str:
    """The weights that the backbone starts from."""
    start = flags.pre_trained or "imagenet"
    if start == "imagenet" and student == "vidt_nano" and not _is_true(flags, "eval"):
        print(
            "vkd: timm publishes no ImageNet weights of swin_nano, so it starts from random ones; "
            "give --pre_trained their file.",
            file=sys.stderr,
        )
        return ""
    return {"none": "", "imagenet": "hub"}.get(start, start)


def _shapes(flags: argparse.Namespace, architecture: str) -> dict[str, Any]:
    """The detector's keyword arguments that differ from its own."""
    stages = flags.cross_indices
    found: dict[str, Any] = {}
    if stages is not None:
        try:
            found["cross_stages"] = sorted(map(int, stages))
        except ValueError:
            raise UserError(f"--cross_indices must be stages, found {' '.join(stages)}.") from None
        if not found["cross_stages"] or not set(found["cross_stages"]) <= {0, 1, 2, 3}:
            raise UserError(f"--cross_indices must be of 0 to 3, found {' '.join(stages)}.")
    for flag, (name, kind, default) in SHAPES.items():
        value = _number(flags, flag[2:], kind, default)
        if value < 0 or (kind is int and value < 1):
            raise UserError(f"{flag} must be above 0, found {value}.")
        if value != default and not (architecture == "vidt_wo_neck" and flag in WITHOUT_NECK):
            found[name] = value
    return found


def _extra_heads(flags: argparse.Namespace) -> dict[str, float]:
    """The weights of heads that are off but for a switch."""
    heads = (
        ("iou_aware", "iouaware_loss_coef", "iou_weight"),
        ("token_label", "token_loss_coef", "token_label_weight"),
    )
    return {
        field: _number(flags, weight, float, 2.0) if _is_true(flags, switch) else 0.0
        for switch, weight, field in heads
    }


def _leave_out_idle(flags: argparse.Namespace, values: dict[str, Any]) -> None:
    """Drop what acts on nothing that is on, as in the release, and say so where it was given."""
    for reason, is_so, idle in (
        ("--sched warmupcos", values["schedule"] != "step", ("--lr_drop", "--decay-rate")),
        ("--warmup-epochs 0", not values["warmup_epochs"], ("--warmup-lr",)),
        ("vidt", values["architecture"] == "vidt", ("--eos_coef",)),
        ("vidt_wo_neck", values["architecture"] == "vidt_wo_neck", WITHOUT_NECK),
        ("--iou_aware False", not values["iou_weight"], ("--iouaware_loss_coef",)),
        ("--token_label False", not values["token_label_weight"], ("--token_loss_coef",)),
        ("no --distil_model", "teacher" not in values, ("--distil_loss_coef",
                                                        "--distil_model_path")),
    ):  # fmt: skip
        for flag in idle if is_so else ():
            name = FIELDS.get(flag, flag[2:])
            values.pop(name, None)
            if getattr(flags, name) is not None:
                print(
                    f"vkd: {flag} has no effect with {reason}, as in the release.", file=sys.stderr
                )


def _is_true(flags: argparse.Namespace, name: str) -> bool:
    try:
        return release_bool(getattr(flags, name) or "False")
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--{name} {error}.") from None


def _number(flags: argparse.Namespace, name: str, kind: type, default: Any) -> Any:
    text = getattr(flags, name)
    if text is None:
        return default
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise UserError(f"--{name} must be {expected}, found {text}.") from None


def run(arguments: list[str]) -> None:
    """Train or evaluate as the flags say."""
    flags, values = parse(arguments)
    from vkd.api.evaluate import evaluate
    from vkd.api.train import end_processes
    from vkd.cli.commands import print_metrics

    if _is_true(flags, "eval"):
        if not flags.resume:
            raise UserError("--eval True needs --resume, the weights to evaluate.")
        values = without_teacher_weights(values, "--distil_model_path")
        print_metrics(evaluate(flags.resume, "vidt-nano-coco", **values))
    else:
        train_by_flags(flags, "vidt-nano-coco", values, vidt_logs, told=("num_classes",))
    end_processes()


def main() -> int:
    """Run with the process's arguments and return the exit code."""
    return run_command(TRANSLATION, run)


if __name__ == "__main__":
    sys.exit(main())

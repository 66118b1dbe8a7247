"""The command of the paper's release for ViDT on COCO, carried out by vkd.

    torchrun --nproc_per_node=8 main.py --method vidt --backbone_name swin_nano --epochs 50 \\
        --batch_size 2 --aux_loss True --with_box_refine True --distil_model vidt_base \\
        --distil_model_path CKPT --coco_path COCO --output_dir swin_nano

It takes the release's flags, translates them to fields of a recipe, and calls what ``vkd train``
and ``vkd eval`` call. A flag that has no effect is named in a warning.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from vkd.cli.translation import Translation, release_bool, run_command, train_by_flags
from vkd.detection.config import DetectionConfig
from vkd.errors import UserError, nearest

BACKBONES = {
    "swin_nano": "vidt_nano",
    "swin_tiny": "vidt_tiny",
    "swin_small": "vidt_small",
    "swin_base_win7_22k": "vidt_base",
    "swin_large_win7_22k": "vidt_large",
}
NOT_YET = ("coat_lite_tiny", "coat_lite_mini", "coat_lite_small")
FIELDS = {
    "--method": "architecture",
    "--epochs": "epochs",
    "--lr": "lr",
    "--min-lr": "min_lr",
    "--weight_decay": "weight_decay",
    "--batch_size": "batch_size",
    "--num_workers": "workers",
    "--clip_max_norm": "clip_grad",
    "--sched": "schedule",
    "--warmup-epochs": "warmup_epochs",
    "--aux_loss": "auxiliary_losses",
    "--with_box_refine": "box_refinement",
    "--cross_scale_fusion": "fusion",
    "--coco_path": "data_path",
    "--eval_size": "short_side",
    "--seed": "seed",
    "--device": "device",
    "--n_iter_to_acc": "accumulation",
    "--distil_model": "teacher",
    "--distil_model_path": "teacher_checkpoint",
    "--distil_loss_coef": "feature_weight",
    "--cls_loss_coef": "class_weight",
    "--bbox_loss_coef": "box_weight",
    "--giou_loss_coef": "giou_weight",
    "--drop_path_rate": "drop_path",
}
OWN = {
    "--backbone_name": f"one of {', '.join(BACKBONES)}",
    "--pre_trained": "ImageNet weights of the backbone: a file, imagenet for timm's, or none",
    "--resume": "weights to evaluate, or a run folder to go on with",
    "--output_dir": "run folder",
    "--eval": "True to evaluate --resume",
    "--iou_aware": "True to predict each box's overlap",
    "--iou_aware_loss_coef": "its weight",
    "--token_label": "True to predict the classes of patches",
    "--token_loss_coef": "its weight",
}
# What the recipe fixes as the release's own defaults do, or what had no effect.
IGNORED = (
    "--lr_backbone", "--lr_backbone_names", "--lr_linear_proj_names", "--lr_linear_proj_mult",
    "--lr_drop", "--lr_drop_epochs", "--lr-noise", "--lr-noise-pct", "--lr-noise-std",
    "--warmup-lr", "--decay-epochs", "--decay-rate", "--cooldown-epochs", "--patience-epochs",
    "--position_embedding", "--position_embedding_scale", "--num_feature_levels", "--dec_layers",
    "--dim_feedforward", "--reduced_dim", "--dropout", "--nheads", "--dec_n_points",
    "--pre_norm", "--det_token_num", "--pos_dim", "--cross_indices", "--set_cost_class",
    "--set_cost_bbox", "--set_cost_giou", "--focal_alpha", "--mask_loss_coef",
    "--dice_loss_coef", "--dataset_file", "--coco_panoptic_path", "--remove_difficult",
    "--cache_mode", "--start_epoch", "--world_size", "--dist_url", "--dist_backend",
    "--print_freq", "--dist-backend", "--rank", "--gpu",
)  # fmt: skip
TRANSLATION = Translation("main.py", __doc__, DetectionConfig, FIELDS, OWN, ignored=IGNORED,
    others={"backbone_checkpoint": "--pre_trained", "iou_weight": "--iou_aware_loss_coef",
            "token_label_weight": "--token_loss_coef", "student": "--backbone_name"},
)  # fmt: skip


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags, and the recipe's fields that they set.

    Raises:
        UserError: for a flag that the release does not have, a backbone that is not here, or a
            wrong value.
    """
    flags, values = TRANSLATION.parse(arguments)
    backbone = flags.backbone_name or "swin_nano"
    if backbone in NOT_YET:
        raise UserError(f"--backbone_name {backbone} is not here yet, only {', '.join(BACKBONES)}.")
    if backbone not in BACKBONES:
        raise UserError(f"There is no --backbone_name {backbone!r}{nearest(backbone, BACKBONES)}")
    values["student"] = BACKBONES[backbone]
    # The release divides by no batch size: its rate is the rate of every step.
    values["lr_reference_batch"] = 0
    starts = {"none": "", "imagenet": "hub"}
    start = flags.pre_trained
    if start is not None:
        values["backbone_checkpoint"] = starts.get(start, start)
    for name, weight in (("iou_aware", "iou_aware_loss_coef"), ("token_label", "token_loss_coef")):
        if _is_true(flags, name):
            field = "iou_weight" if name == "iou_aware" else "token_label_weight"
            values[field] = _number(getattr(flags, weight) or "2.0", weight)
    if "teacher" not in values:
        values |= {"teacher": "", "feature_weight": 0.0}
    return flags, values


def _is_true(flags: argparse.Namespace, name: str) -> bool:
    try:
        return release_bool(getattr(flags, name) or "False")
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--{name} {error}.") from None


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--{name} must be a number, found {text}.") from None


def run(arguments: list[str]) -> None:
    """Train or evaluate as the flags say."""
    flags, values = parse(arguments)
    recipe = {"vidt_nano": "vidt-nano-coco", "vidt_tiny": "vidt-tiny-coco"}.get(
        values["student"], "vidt-small-coco"
    )
    from vkd.api.evaluate import evaluate
    from vkd.api.train import end_processes
    from vkd.cli.commands import print_metrics

    if _is_true(flags, "eval"):
        if not flags.resume:
            raise UserError("--eval True needs --resume, the weights to evaluate.")
        print_metrics(evaluate(flags.resume, recipe, **values))
    else:
        if flags.resume and Path(flags.resume).is_file():
            raise UserError("--resume must be a run folder to go on training, found a file.")
        train_by_flags(flags, recipe, values)
    end_processes()


def main() -> int:
    """Run with the process's arguments and return the exit code."""
    return run_command(TRANSLATION, run)


if __name__ == "__main__":
    sys.exit(main())

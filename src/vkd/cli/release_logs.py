"""What the paper's release writes and prints of a run, made of our records; used by ``paper/``.

Epochs and iterations count from 0 there.
"""

import json
from typing import Any

from vkd.detection.config import DetectionConfig
from vkd.training.extra_log import ExtraLog, RunShape

Record = dict[str, Any]
# Our losses of a layer, and those of the release.
_LOSSES = {"class": "loss_ce", "box": "loss_bbox", "giou": "loss_giou", "iou": "loss_iouaware"}
# COCO's twelve numbers in their order: our name, and what it is.
_COCO = {
    "AP": ("Precision", "0.50:0.95", "all", 100),
    "AP50": ("Precision", "0.50", "all", 100),
    "AP75": ("Precision", "0.75", "all", 100),
    "APsmall": ("Precision", "0.50:0.95", "small", 100),
    "APmedium": ("Precision", "0.50:0.95", "medium", 100),
    "APlarge": ("Precision", "0.50:0.95", "large", 100),
    "AR1": ("Recall", "0.50:0.95", "all", 1),
    "AR10": ("Recall", "0.50:0.95", "all", 10),
    "AR100": ("Recall", "0.50:0.95", "all", 100),
    "ARsmall": ("Recall", "0.50:0.95", "small", 100),
    "ARmedium": ("Recall", "0.50:0.95", "medium", 100),
    "ARlarge": ("Recall", "0.50:0.95", "large", 100),
}


def deit_logs() -> tuple[ExtraLog, ...]:
    """Return ``r0_train.csv``, a row for each record of updates, and ``r0_val.csv``."""
    return (
        ExtraLog(
            file="r0_train.csv",
            header="epoch,itr,xe_loss,repr_distill_loss,kl_loss",
            lines=_training_rows,
        ),
        ExtraLog(
            file="r0_val.csv",
            header="epoch,acc1,acc5",
            lines=_accuracy_rows,
            shown=_accuracy_line,
        ),
    )


def _training_rows(record: Record, updates: list[Record], shape: RunShape) -> list[str]:
    rows = []
    for update in updates:
        epoch, place = shape.place(update["update"])
        losses = (update["terms"].get(name, 0.0) for name in ("label", "feature", "logit"))
        rows.append(",".join([f"{epoch}", f"{place}", *(f"{loss:.5f}" for loss in losses)]))
    return rows


def _accuracy_rows(record: Record, updates: list[Record], shape: RunShape) -> list[str]:
    found = record.get("validation")
    if not found:
        return []
    return [f"{record['epoch'] - 1},{found['accuracy']:.5f},{found['top5']:.5f}"]


def _accuracy_line(record: Record) -> str:
    found = record.get("validation")
    return f" * Acc@1 {found['accuracy']:.3f} Acc@5 {found['top5']:.3f}" if found else ""


def vidt_logs(config: DetectionConfig) -> tuple[ExtraLog, ...]:
    """Return ``log.txt``, a line of JSON for each epoch.

    Args:
        config: its weights of losses are in the values that are not called unscaled.
    """
    weights = config.loss_weights()

    def lines(record: Record, updates: list[Record], shape: RunShape) -> list[str]:
        values = _training_values(record, weights, config.feature_weight)
        if found := record.get("validation"):
            values["test_coco_eval_bbox"] = [_share(found[name]) for name in _COCO]
        count = {"epoch": record["epoch"] - 1, "n_parameters": shape.parameters}
        return [json.dumps(values | count)]

    return (ExtraLog(file="log.txt", lines=lines, shown=_coco_table),)


def _training_values(
    record: Record, weights: dict[str, float], feature_weight: float
) -> dict[str, Any]:
    measures, train = record["measures"], record["train"]
    found = {
        "train_lr": measures["lr"],
        "train_class_error": measures["class_error"],
        "train_loss": train["loss"],
    }
    for name, loss in measures.items():
        kind, _, layer = name.partition(".")
        if kind in _LOSSES:
            key = f"train_{_LOSSES[kind]}" + (f"_{layer}" if layer else "")
            found |= {key: weights[kind] * loss, f"{key}_unscaled": loss}
    if "feature" in train:
        distilled = train["feature"]
        found["train_loss_distil"] = distilled
        found["train_loss_distil_unscaled"] = distilled / feature_weight
    return found


def _share(value: float) -> float:
    """A metric in % as a share; -1, where there are no such objects, stays."""
    return value / 100 if value >= 0 else value


def _coco_table(record: Record) -> str:
    """The table that COCO's own evaluation prints."""
    found = record.get("validation")
    if not found:
        return ""
    rows = []
    for name, (kind, overlap, area, detections) in _COCO.items():
        title = f"Average {kind:<10} (A{kind[0]})"
        where = f"IoU={overlap:<9} | area={area:>6} | maxDets={detections:>3}"
        rows.append(f" {title} @[ {where} ] = {_share(found[name]):.3f}")
    return "\n".join(rows)

"""Checkpoints in the layouts of the paper's release, filled by the formula."""

import argparse
import zlib

import torch

from support.formula import fill, keys_of
from vkd.detection.losses import detection_losses, predictions_of
from vkd.detection.matching import STANDARD, match
from vkd.detection.objects import counts_of, mean_count, objects_of


def deit_file(name, folder, projector=True):
    """A training checkpoint of DeiT."""
    state = {}
    for key, shape, dtype, *_ in keys_of(name):
        bare = key.removeprefix("module.")
        if "projector" not in bare:
            state[key] = fill(bare, shape, dtype)
        elif projector:
            state[key] = torch.eye(*shape) * (1 if bare.endswith("base") else -1)
    file = folder / f"{name}.pth"
    extra = {"optimizer": {"state": {}}, "scaler": {}, "epoch": 3, "loss": 0.5, "lr": 5e-4}
    torch.save({"student": state, "student_ema": None, **extra}, file)
    return file


def vidt_file(name, folder, keys="", **flags):
    """A training checkpoint of ViDT; ``flags`` are those of the release that made it."""
    state = {}
    for key, shape, dtype, *original in keys_of(keys or name):
        # Of one tensor under several names all have the numbers of one.
        state[key] = fill(original[0] if original else key, shape, dtype)
    file = folder / f"{keys or name}.pth"
    args = argparse.Namespace(method="vidt", backbone_name="swin_nano", lr=1e-4, **flags)
    extra = {"optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 49}
    torch.save({"model": state, "args": args, **extra}, file)
    return file


def targets_of(count):
    """The targets of the golden losses."""
    targets = []
    for image in range(count):
        generator = torch.Generator().manual_seed(zlib.crc32(f"targets.{image}".encode()))
        objects = (3, 1, 2)[image % 3]
        centres = torch.rand(objects, 2, generator=generator) * 0.4 + 0.3
        sizes = torch.rand(objects, 2, generator=generator) * 0.3 + 0.1
        labels = torch.randint(1, 91, (objects,), generator=generator)
        targets.append({"labels": labels, "boxes": torch.cat([centres, sizes], 1)})
    return targets


def losses_of(outputs, targets, rules=STANDARD):
    """The losses of every layer of a detector's outputs, by kind."""
    found, objects, counts = predictions_of(outputs), objects_of(targets), counts_of(targets)
    matches = match(found.logits, found.boxes, objects, counts, rules)
    count = mean_count(counts, found.boxes.device)
    return detection_losses(found, objects, matches, count, rules)

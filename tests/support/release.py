"""Checkpoints in the layouts of the paper's release, filled by the formula."""

import argparse

import torch

from support.formula import fill, keys_of


def deit_file(name, folder, projector=True):
    """A training checkpoint of DeiT."""
    state = {}
    for key, shape, dtype in keys_of(name):
        bare = key.removeprefix("module.")
        if "projector" not in bare:
            state[key] = fill(bare, shape, dtype)
        elif projector:
            state[key] = torch.eye(*shape) * (1 if bare.endswith("base") else -1)
    file = folder / f"{name}.pth"
    extra = {"optimizer": {"state": {}}, "scaler": {}, "epoch": 3, "loss": 0.5, "lr": 5e-4}
    torch.save({"student": state, "student_ema": None, **extra}, file)
    return file


def vidt_file(name, folder, keys=""):
    """A training checkpoint of ViDT."""
    state = {key: fill(key, shape, dtype) for key, shape, dtype in keys_of(keys or name)}
    file = folder / f"{keys or name}.pth"
    args = argparse.Namespace(method="vidt", backbone_name="swin_nano", lr=1e-4)
    extra = {"optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 49}
    torch.save({"model": state, "args": args, **extra}, file)
    return file

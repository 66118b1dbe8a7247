"""Checkpoints of training in the release's layouts, with the state of a real AdamW in its order."""

import argparse
import re
from copy import deepcopy

import torch
from torch import nn

from support.formula import fill, keys_of

# What the release holds as buffers, and what it never uses, so that it has no moments.
BUFFERS = re.compile(
    r".*(running_mean|running_var|num_batches_tracked|relative_position_index|\.0\.base)$"
)
UNUSED = re.compile(
    r"transformer\.level_embed|backbone\.norm\d\.|.*\.downsample\.(expansion|norm2)\.|"
    r"fusion\.multi_scaler\.refinenet_3\.(smoothing|resConfUnit1)\."
)


def original_of(key, keys):
    """The first key of the tensor that ``key`` is stored under; by the release's module tree."""
    heads = f"transformer.decoder.{key}"
    return heads if key.startswith("bbox_embed.") and heads in keys else key


def small(key, shape, classes, side):
    """The shape with so many classes, for images of so many pixels."""
    if re.search(r"(^|\.)(head|head_dist)\.(weight|bias)$|^class_embed\.\d+\.", key) and classes:
        return [classes, *shape[1:]]
    if key.endswith("pos_embed") and "det" not in key and side:
        return [1, 2 + (side // 16) ** 2, shape[2]]
    return shape


def stored_state(name, classes=0, side=0):
    """A state dict in the release's order, and its parameters, each by its first key."""
    rows = keys_of(name)
    keys = {key.removeprefix("module.") for key, *_ in rows}
    state, parameters = {}, {}
    for key, shape, dtype, *original in rows:
        bare = key.removeprefix("module.")
        first = original[0] if original else original_of(bare, keys)
        # Whatever comes first of a tensor's keys is the name that its parameter has.
        twin = next((k for k, o in ((r[0], r[3:]) for r in rows) if o == [bare]), None)
        known = first if first in parameters else None
        if known is None and twin is not None and twin in parameters:
            known = twin
        if known is not None:
            state[key] = parameters[known].data
            continue
        if bare.endswith(("original", "base")):
            value = torch.eye(*shape) * (1 if bare.endswith("base") else -1)
            if shape[0] == shape[1] and bare.endswith("original"):
                value = 0.1 * fill(bare, shape)
        else:
            value = fill(bare, small(bare, shape, classes, side), dtype)
        if not BUFFERS.match(bare):
            parameters[bare] = nn.Parameter(value)
            value = parameters[bare].data
        state[key] = value
    return state, parameters


def is_flat(key, parameter):
    """Whether the release spares it from weight decay."""
    return parameter.ndim <= 1 or key.endswith(".bias")


def groups_of(parameters, kind):
    """The release's optimiser groups, each a list of keys."""
    flat = {key for key, parameter in parameters.items() if is_flat(key, parameter)}
    if kind == "deit":
        return [
            list(filter(flat.__contains__, parameters)),
            [k for k in parameters if k not in flat],
        ]
    body = [key for key in parameters if key.startswith("backbone.")]
    return [
        [key for key in parameters if not key.startswith("backbone.")],
        [key for key in body if key in flat],
        [key for key in body if key not in flat],
    ]


def trained(parameters, groups, steps=2, lr=1e-4):
    """Take steps with random gradients of what is used; return the optimiser."""
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.AdamW(
        [{"params": [parameters[key] for key in group]} for group in groups if group], lr
    )
    for _ in range(steps):
        for key, parameter in parameters.items():
            if not UNUSED.match(key):
                parameter.grad = torch.randn(parameter.shape, generator=generator) * 1e-3
        optimizer.step()
    return optimizer


def moments_of(optimizer, parameters):
    """The optimiser's own state by the release's first keys."""
    states = {key: optimizer.state.get(parameter) for key, parameter in parameters.items()}
    return {key: state for key, state in states.items() if state}


def training_file(name, folder, kind, epoch=0, classes=0, side=0, averaged=False, **flags):
    """Write a checkpoint of training; return the file, its parameters' moments, and its state."""
    state, parameters = stored_state(name, classes, side)
    optimizer = trained(parameters, groups_of(parameters, kind))
    content = {"optimizer": optimizer.state_dict(), "epoch": epoch}
    if kind == "deit":
        ema = None
        if averaged:
            model = {k: v for k, v in state.items() if "projector" not in k}
            ema = {f"module.{k}": v + 0.5 if v.is_floating_point() else v for k, v in model.items()}
        content |= {"student": state, "student_ema": ema, "loss": 0.5, "batch_size": 4, "lr": 5e-4}
        content |= {"scaler": {"scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5,
                               "growth_interval": 2000, "_growth_tracker": 1}}  # fmt: skip
    else:
        args = argparse.Namespace(method="vidt", lr=1e-4, **flags)
        content |= {"model": state, "lr_scheduler": {"last_epoch": epoch}, "args": args}
    file = folder / f"{name}-training.pth"
    torch.save(content, file)
    return file, deepcopy(moments_of(optimizer, parameters)), state

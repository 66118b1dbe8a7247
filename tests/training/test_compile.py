"""Compiled by inductor, every task has the losses that it has without, and compiles no more."""

import copy
import shutil
from functools import partial

import pytest
import torch
from accelerate.utils import set_seed
from torch._dynamo.utils import counters

from support.steps import (
    classification_batch,
    classification_module,
    detection_batch,
    detection_module,
    generation_modules,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]
STEPS, FIRST = 50, 3


def trained(modules, batches, state):
    """The terms of each step of modules with these weights, and the graphs after the first steps.

    Weights stay, as rounding would soon be another training.
    """
    torch._dynamo.reset()
    counters.clear()
    for module, weights in zip(modules, state, strict=True):
        module.load_state_dict(weights)
        module.train()
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.0) for module in modules]
    terms, graphs = [], 0
    for step, batch in enumerate(batches):
        set_seed(step)  # compiling may draw random numbers
        for module, optimizer in zip(modules, optimizers, strict=True):
            found = module(copy.deepcopy(batch))  # which timm mixes in place
            torch.stack(list(found.values())).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            shares = module.explained()
            found |= {f"unexplained {name}": 1 - share for name, share in shares.items()}
            terms.append({name: term.item() for name, term in found.items()})
        if step == FIRST - 1:
            graphs = counters["stats"]["unique_graphs"]
    return terms, graphs


def compare(plain, compiled, batches):
    """Equal losses by equal weights, no graph after the first steps, and none that breaks."""
    state = [copy.deepcopy(module.state_dict()) for module in plain]
    expected, none = trained(plain, batches, state)
    assert none == 0
    found, graphs = trained(compiled, batches, state)
    assert graphs > 0
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    return graphs


@pytest.mark.parametrize("fields", [{}, {"mixup": 0.8, "cutmix": 1.0}], ids=["plain", "mixed"])
def test_classification(fields):
    modules = []
    for compile in (False, True):
        torch.manual_seed(0)
        module, _ = classification_module(
            feature_weight=1.0, logit_weight=0.5, compile=compile, **fields
        )
        modules.append(module)
    batches = [classification_batch() for _ in range(STEPS)]
    # Student, teacher, losses.
    assert compare(modules[:1], modules[1:], batches) == 3


def test_detection(monkeypatch):
    # Inductor takes minutes for a detector; graphs are the same.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    modules = []
    for compile in (False, True):
        torch.manual_seed(0)
        modules.append(detection_module("distilled", num_layers=1, compile=compile)[0])
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
    batches = [detection_batch() for _ in range(STEPS)]
    # Student, teacher, losses of boxes and classes, losses of tokens.
    assert compare(modules[:1], modules[1:], batches) == 4


def test_generation():
    pairs = []
    for compile in (False, True):
        torch.manual_seed(0)
        modules, batch = generation_modules(compile=compile)
        pairs.append(modules)
    batches = [batch] * STEPS
    # Teacher, losses, and each network with its own gradients and without.
    assert compare(*pairs, batches) == 6

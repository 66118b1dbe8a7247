"""Whether the numbers of a run are numbers still."""

import math
from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor


def fault_of_terms(terms: Mapping[str, float]) -> str:
    """Return what is wrong with the means of an epoch's loss terms; empty where nothing is."""
    bad = next((name for name, value in terms.items() if not math.isfinite(value)), "")
    return f"The loss term {bad} is {terms[bad]}" if bad else ""


def fault_of_weights(modules: Iterable[nn.Module], accelerator: Accelerator) -> str:
    """Return what is wrong with weights, of which each process may hold a shard; or nothing."""
    weights = [p.detach() for module in modules for p in module.parameters()]
    shards = [p.to_local() if isinstance(p, DTensor) else p for p in weights]
    broken = torch.stack([(~shard.isfinite()).any() for shard in shards]).any()
    is_broken = bool(accelerator.reduce(broken.float(), "sum"))
    return "A weight is no finite number any more" if is_broken else ""

"""Which weights a network has, whatever file they came from."""

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

from vkd.models.checkpoints import read_checkpoint


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return a digest of the names, shapes and values of weights, floating-point ones in float32.

    Equal weights have equal digests in every format of file, on every device and in lower
    precision as well.
    """
    found = blake2b(digest_size=16)
    for name in sorted(state):
        value = state[name].detach().cpu()
        value = value.to(torch.float32) if value.is_floating_point() else value
        found.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        found.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def checkpoint_digest(path: str) -> str:
    """Return the digest of the weights in a file or run folder.

    Raises:
        UserError: if it is none.
    """
    return weights_digest(read_checkpoint(path).state)

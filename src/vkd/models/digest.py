"""Which weights a network has, whatever file they came from."""

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor


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

"""The formula that made the golden files: numbers and weights from names."""

import json
import zlib
from pathlib import Path

import torch

GOLDEN = Path(__file__).parents[1] / "golden"


def draw(name, shape):
    """Numbers from a name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator)


def fill(key, shape, dtype="torch.float32"):
    """A weight from its name."""
    if dtype == "torch.int64":
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("running_var"):
        return 1 + 0.1 * draw(key, shape).abs()
    if len(shape) >= 2:
        values = draw(key, shape)
        return values / (values.numel() // shape[0]) ** 0.5
    return 1 + 0.02 * draw(key, shape) if key.endswith("weight") else 0.02 * draw(key, shape)


def keys_of(name):
    """The release's keys, shapes and types of a model, and the key that one is a copy of."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def orthonormal(name, rows, columns):
    """An orthonormal matrix from a name."""
    return torch.linalg.qr(draw(name, (rows, columns)).double())[0].float()

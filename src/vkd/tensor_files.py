"""Safetensors files, written whole, and equal bytes for equal contents."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from vkd.files import whole_file

_METADATA = "__metadata__"


def save_tensors(tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str]) -> None:
    """Write safetensors in one step, so that a reader never meets half a file."""
    with whole_file(file) as place:
        write_tensors(tensors, place, metadata)


def write_tensors(tensors: Mapping[str, Tensor], place: Path, metadata: Mapping[str, str]) -> None:
    """Write safetensors to a place that ``whole_file`` or its like gave."""
    # Cloned, as heads that are shared would share storage, which safetensors refuses.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, place, dict(metadata))
    if len(metadata) > 1:
        _sort_metadata(place)


def _sort_metadata(file: Path) -> None:
    """Put the metadata in order, which safetensors writes as its hash map happens to have them.

    The header is 8 bytes of its length, and JSON that ends in spaces.
    """
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
        header[_METADATA] = dict(sorted(header[_METADATA].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError(f"The metadata of {file} are escaped in an unknown way.")
        opened.seek(8)
        opened.write(text.ljust(length))

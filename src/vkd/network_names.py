"""Names of networks, taken apart. Imports no torch, so that recipes are read without it."""

import os
import re
from typing import Literal, NamedTuple

SourceName = Literal["timm", "torchvision", "hugging_face", "python_file", "run_folder"]
# The forms, for messages and help.
FORMS = (
    "NAME of `vkd models` or timm, timm/NAME, torchvision/NAME, hf/OWNER/NAME, hf/FOLDER, "
    "FILE.py:FUNCTION, or a run folder or weights file"
)
_PREFIXES: dict[str, SourceName] = {
    "timm/": "timm", "torchvision/": "torchvision", "hf/": "hugging_face",
}  # fmt: skip
_FUNCTION = re.compile(r".+\.py:\w+", re.DOTALL)
_WEIGHTS = (".safetensors", ".pth", ".pt", ".tar", ".bin")


class NetworkName(NamedTuple):
    """A name, taken apart.

    Attributes:
        source: what builds the network.
        own: its name there: ``OWNER/NAME``, ``FILE.py:FUNCTION`` or a path, for example.
    """

    source: SourceName
    own: str


def parse(name: str) -> NetworkName:
    """Return the source of a network's name, and what it is called there.

    By the form alone; nothing is looked for. A name without a slash is of ours or timm's, so a run
    folder beside it is ``./NAME``.
    """
    for prefix, source in _PREFIXES.items():
        if name.startswith(prefix):
            return NetworkName(source, name.removeprefix(prefix))
    if _FUNCTION.fullmatch(name):
        return NetworkName("python_file", name)
    if "/" in name or "\\" in name or name.endswith(_WEIGHTS):
        return NetworkName("run_folder", name)
    return NetworkName("timm", name)


def is_code(name: str) -> bool:
    """Return whether building a network of this name runs a file of Python."""
    return parse(name).source == "python_file"


def is_saved_folder(name: str) -> bool:
    """Return whether a name is that of a folder as transformers' ``save_pretrained`` writes it."""
    source, own = parse(name)
    return source == "hugging_face" and os.path.isdir(own)


def is_run(name: str) -> bool:
    """Return whether a name is that of a run folder or weights file."""
    return parse(name).source == "run_folder"

"""The versions of what results are made with."""

from importlib.metadata import version

import vkd


def versions() -> dict[str, str]:
    """Return the versions of this package, torch and timm by name."""
    import torch

    # A checkout that is not installed has no metadata.
    return {"vkd": vkd.__version__, "torch": torch.__version__, "timm": version("timm")}

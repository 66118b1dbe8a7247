"""The versions of what results are made with."""

from importlib.metadata import version


def versions() -> dict[str, str]:
    """Return the versions of this package, torch and timm by name."""
    import torch

    return {"vkd": version("vkd"), "torch": torch.__version__, "timm": version("timm")}

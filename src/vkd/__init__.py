"""Knowledge distillation of vision models with orthogonal projections (VkD, CVPR 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vkd.distiller import Distiller as Distiller
    from vkd.features import layers as layers
    from vkd.loss import FeatureLoss as FeatureLoss
    from vkd.loss import VkDLoss as VkDLoss
    from vkd.models import create_model as create_model
    from vkd.models import load_checkpoint as load_checkpoint
    from vkd.normalization import layer_norm as layer_norm
    from vkd.normalization import standardize as standardize
    from vkd.normalization import whiten as whiten
    from vkd.projection import OrthogonalProjection as OrthogonalProjection

__version__ = "0.1.0"

_HOME = {
    "Distiller": "distiller",
    "layers": "features",
    "FeatureLoss": "loss",
    "VkDLoss": "loss",
    "OrthogonalProjection": "projection",
    "layer_norm": "normalization",
    "standardize": "normalization",
    "whiten": "normalization",
    "create_model": "models",
    "load_checkpoint": "models",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `vkd --help` must not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module 'vkd' has no attribute {name!r}")
    return getattr(import_module(f"vkd.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

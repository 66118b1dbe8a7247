"""Knowledge distillation of vision models with orthogonal projections (VkD, CVPR 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vkd.api.bench import bench as bench
    from vkd.api.cache import cache as cache
    from vkd.api.check import check as check
    from vkd.api.evaluate import evaluate as evaluate
    from vkd.api.export import export as export
    from vkd.api.predict import predict as predict
    from vkd.api.replay import replay as replay
    from vkd.api.search import search as search
    from vkd.api.train import train as train
    from vkd.comparison.compare import compare as compare
    from vkd.data.images import splits_of as splits_of
    from vkd.deployment.description import read_exported as read_exported
    from vkd.distiller import Distiller as Distiller
    from vkd.features import layers as layers
    from vkd.hub.load import from_pretrained as from_pretrained
    from vkd.hub.save import push_to_hub as push_to_hub
    from vkd.hub.save import save_pretrained as save_pretrained
    from vkd.init.recipe import init_recipe as init_recipe
    from vkd.loss import FeatureLoss as FeatureLoss
    from vkd.loss import VkDLoss as VkDLoss
    from vkd.methods.catalogue import register_method as register_method
    from vkd.models import create_model as create_model
    from vkd.models import load_checkpoint as load_checkpoint
    from vkd.normalization import layer_norm as layer_norm
    from vkd.normalization import standardize as standardize
    from vkd.normalization import whiten as whiten
    from vkd.projection import OrthogonalProjection as OrthogonalProjection
    from vkd.tasks import register_task as register_task

__version__ = "0.1.0"

_HOME = {
    "Distiller": "distiller",
    "layers": "features",
    "FeatureLoss": "loss",
    "OrthogonalProjection": "projection",
    "VkDLoss": "loss",
    "bench": "api.bench",
    "cache": "api.cache",
    "check": "api.check",
    "compare": "comparison.compare",
    "create_model": "models",
    "evaluate": "api.evaluate",
    "export": "api.export",
    "init_recipe": "init.recipe",
    "from_pretrained": "hub.load",
    "layer_norm": "normalization",
    "load_checkpoint": "models",
    "predict": "api.predict",
    "push_to_hub": "hub.save",
    "read_exported": "deployment.description",
    "register_method": "methods.catalogue",
    "register_task": "tasks",
    "replay": "api.replay",
    "save_pretrained": "hub.save",
    "search": "api.search",
    "splits_of": "data.images",
    "standardize": "normalization",
    "train": "api.train",
    "whiten": "normalization",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `vkd --help` must not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module 'vkd' has no attribute {name!r}")
    return getattr(import_module(f"vkd.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

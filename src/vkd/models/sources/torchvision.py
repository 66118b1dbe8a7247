"""torchvision's image classifiers."""

import re
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models

from vkd.errors import RunError, UserError, nearest, reason_of
from vkd.models.checkpoints import Checkpoint
from vkd.models.sources.source import Options, Source, fitting_all, stored_options

# The last features before pooling, by the module of torchvision that a network is from.
_LAST_LAYERS = {
    "alexnet": "features", "convnext": "features", "densenet": "features",
    "efficientnet": "features", "googlenet": "inception5b", "inception": "Mixed_7c",
    "maxvit": "blocks", "mnasnet": "layers", "mobilenetv2": "features", "mobilenetv3": "features",
    "regnet": "trunk_output", "resnet": "layer4", "shufflenetv2": "conv5",
    "squeezenet": "features", "swin_transformer": "norm", "vgg": "features",
    "vision_transformer": "encoder",
}  # fmt: skip
# The argument for the side of images, of networks that are built for one.
_SIZE_ARGUMENTS = {"vision_transformer": "image_size", "maxvit": "input_size"}
# These classify at inner layers as well in training, and so would return several tensors.
_WITHOUT_AUXILIARY = {"googlenet", "inception"}
_AUXILIARY = re.compile(r"(aux\d|AuxLogits)\.")
_PREFIX_TOKENS = {"vision_transformer": 1}
# Files of DenseNet have dots in names that modules no longer have.
_FORMER_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..+)$")
_CLASSES, _CHANNELS = 1000, 3


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers, with their prefix."""
    return [f"torchvision/{name}" for name in models.list_models(module=models)]


def _kind(own: str) -> str:
    return models.get_model_builder(own).__module__.rpartition(".")[2]


def _problem(own: str) -> str:
    name, known = f"torchvision/{own}", torchvision_names()
    return "" if name in known else f"there is no model {name!r}{nearest(name, known)}"


def _build(own: str, options: Options) -> nn.Module:
    kind, given = _kind(own), dict(options)
    classes, channels = given.pop("num_classes", _CLASSES), given.pop("in_chans", _CHANNELS)
    side = given.pop("img_size", None)
    if side and kind in _SIZE_ARGUMENTS:
        given[_SIZE_ARGUMENTS[kind]] = (side, side) if kind == "maxvit" else side
    if kind in _WITHOUT_AUXILIARY:
        given |= {"aux_logits": False, "init_weights": True}
    network = models.get_model(own, weights=None, num_classes=classes or 1, **given)
    if channels != _CHANNELS:
        _replace_stem(network, channels)
    if not classes:
        network.set_submodule(_head(network), nn.Identity())
    return _described(network, own, {"num_classes": classes, "in_chans": channels}, side)


def _described(network: nn.Module, own: str, options: Options, side: int | None) -> nn.Module:
    """Let a network say what is known of it: see ``NamesLayer``, and the protocols of features,
    inputs and training."""
    kind, inputs = _kind(own), _inputs(own)
    described: Any = network
    described.default_layer = _LAST_LAYERS[kind]
    described.num_prefix_tokens = _PREFIX_TOKENS.get(kind, 0)
    described.num_classes = options["num_classes"]
    described.build_options = options | ({"img_size": side} if side else {})
    if side and inputs["fixed_input_size"]:
        inputs["input_size"] = (options["in_chans"], side, side)
    described.pretrained_cfg = inputs
    return network


def _replace_stem(network: nn.Module, channels: int) -> None:
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    stem = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
        old.groups, old.bias is not None,
    )  # fmt: skip
    network.set_submodule(name, stem)


def _head(network: nn.Module) -> str:
    """The name of the layer that gives logits."""
    kinds = (nn.Linear, nn.Conv2d)  # a convolution in SqueezeNet alone
    return [name for name, module in network.named_modules() if isinstance(module, kinds)][-1]


def _published(own: str, options: Options) -> nn.Module:
    weights, kind = models.get_model_weights(own).DEFAULT, _kind(own)
    asked = {"num_classes": _CLASSES, "in_chans": _CHANNELS} | options
    if asked["in_chans"] != _CHANNELS:
        raise UserError(
            f"torchvision's weights of {own} take {_CHANNELS} channels, found in_chans "
            f"{asked['in_chans']}."
        )
    built = asked | {"num_classes": len(weights.meta["categories"])}
    if kind in _SIZE_ARGUMENTS:
        built = {"img_size": weights.meta["min_size"][0]} | built
    network = _build(own, built)
    network.load_state_dict(_state(own, weights))
    if asked["num_classes"] != built["num_classes"]:
        _replace_head(network, asked["num_classes"])
    described = {name: asked[name] for name in ("num_classes", "in_chans")}
    return _described(network, own, described, built.get("img_size"))


def _state(own: str, weights: Any) -> dict[str, torch.Tensor]:
    try:
        # Loaded here and not by the builder, which would unpickle the file.
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise RunError(
            f"torchvision's weights of {own} could not be fetched: {reason_of(error)}."
        ) from None
    return {
        _FORMER_DENSENET.sub(r"\1\2", name): value
        for name, value in state.items()
        if not _AUXILIARY.match(name)
    }


def _replace_head(network: nn.Module, classes: int) -> None:
    name = _head(network)
    old = network.get_submodule(name)
    if not classes:
        network.set_submodule(name, nn.Identity())
    elif isinstance(old, nn.Conv2d):
        network.set_submodule(name, nn.Conv2d(old.in_channels, classes, 1))
    elif isinstance(old, nn.Linear):
        network.set_submodule(name, nn.Linear(old.in_features, classes, old.bias is not None))


def _inputs(own: str) -> dict[str, Any]:
    weights: Any = models.get_model_weights(own)
    shown = weights.DEFAULT.transforms()
    side, resized = shown.crop_size[0], shown.resize_size[0]
    # With torchvision's weights these would normalise once more, to images in -1..1.
    is_tensorflow = _kind(own) in _WITHOUT_AUXILIARY
    return {
        "architecture": own,
        "mean": (0.5,) * 3 if is_tensorflow else tuple(shown.mean),
        "std": (0.5,) * 3 if is_tensorflow else tuple(shown.std),
        "input_size": (_CHANNELS, side, side),
        "crop_pct": side / resized,
        "interpolation": shown.interpolation.value,
        "fixed_input_size": _kind(own) in _SIZE_ARGUMENTS,
        "num_classes": len(weights.DEFAULT.meta["categories"]),
    }


def _stored(own: str, checkpoint: Checkpoint) -> Options:
    if told := stored_options(own, checkpoint):
        return told
    head = f"{_head(_build(own, {}))}.weight"
    weights = checkpoint.named([head])
    return {"num_classes": len(weights[head])} if head in weights else {}


SOURCE = Source(
    problem=_problem, build=_build, published=_published, inputs=_inputs, fitting=fitting_all,
    stored=_stored,
)  # fmt: skip
